"""The examples: a sensor's power readings at irregular times. Replace `example` with your own, or provide a file."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unroll.errors import UserError
from unroll.jsonl_app import Record
from unroll.sequence.batching import pad

FIELDS = {"hours": list, "kilowatts": list}
EXAMPLES = ("8:1.9 8.5:2.3 9.2:3.1 10.1:3.6 11.7:4.2 13", "20:0.5 20.6:0.4 21.4:0.4 26")


class Batch(NamedTuple):
    """Series of similar length. At each reading the time of the next one is given, and its power is to be predicted."""

    inputs: Tensor
    """scaled power, log of the gap to the next reading, sine and cosine of the next one's time of day, [T, B, 4]"""
    lengths: Tensor
    """readings of each that have a next one, [B]"""
    targets: Tensor
    """change of the scaled power until the next reading, [T, B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """A solar roof over some days, with passing clouds and irregular readings."""
    gaps = random.exponential(0.6, random.integers(40, 90)) + 0.1
    gaps[random.random(len(gaps)) < 0.05] += random.uniform(3, 9)  # the line was down
    hours = random.uniform(0, 24) + np.cumsum(gaps)
    cloud, clouds = random.normal(), []
    for gap in gaps:  # clouds: an Ornstein-Uhlenbeck process with a time constant of some hours
        kept = np.exp(-gap / 4)
        cloud = kept * cloud + np.sqrt(1 - kept**2) * random.normal()
        clouds.append(1 / (1 + np.exp(-1.5 - cloud)))
    sun = np.maximum(0, np.sin(2 * np.pi * (hours - 6) / 24))
    power = random.uniform(3, 8) * sun * np.array(clouds) + random.normal(0, 0.05, len(hours)) + 0.3
    return {"hours": [round(float(h), 2) for h in hours], "kilowatts": [round(float(p), 3) for p in power]}


def facts(records: list[Record]) -> dict[str, Any]:
    """The scale of power."""
    return {"scale": float(np.std([value for record in records for value in record["kilowatts"]]))}


def length(record: Record) -> int:
    """Readings that have a next one. Raises UserError if the series cannot be used."""
    hours, power = record["hours"], record["kilowatts"]
    numbers = all(isinstance(value, int | float) for value in (*hours, *power))
    if not numbers or len(hours) != len(power) or len(hours) < 2 or sorted(set(hours)) != hours:
        raise UserError(f"{record['id']}: needs as many kilowatts as hours, all numbers, hours ascending; correct it")
    return len(hours) - 1


def inputs(hours: list[float], kilowatts: list[float], scale: float) -> Tensor:
    """The network's input for N hours and the power at all but the last of them, [N - 1, 4]."""
    at, power = torch.tensor(hours), torch.tensor(kilowatts) / scale
    day = 2 * torch.pi * at[1:] / 24
    return torch.stack((power[: len(day)], at.diff().log(), day.sin(), day.cos()), 1)


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Series as a batch, time first."""
    read, lengths = pad([inputs(record["hours"], record["kilowatts"], facts["scale"]) for record in records])
    changes, _ = pad([torch.tensor(record["kilowatts"]).diff() / facts["scale"] for record in records])
    return Batch(read, lengths, changes, records)
