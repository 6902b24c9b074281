"""The examples: noisy waves, and which kind each is. Replace `example` by your own, or bring a file of records."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.signal import sawtooth, square
from torch import Tensor

from core.errors import UserError
from core.records import Record
from core.sequence.batching import pad

FIELDS = {"values": list, "label": str}
WAVES = {"sine": np.sin, "square": square, "sawtooth": sawtooth, "triangle": lambda x: sawtooth(x, 0.5)}
EXAMPLES = (
    "0.1 0.8 1.1 0.9 -0.1 -0.9 -1.0 -0.8 0.1 0.9 0.9 0.8 0 -0.9 -1.1",
    "1 1 0.9 1 -1 -1.1 -1 -1 1 1 1.1 1 -1 -1",
)


class Batch(NamedTuple):
    """Sequences of similar length."""

    values: Tensor
    """[T, B, 1]"""
    lengths: Tensor
    """steps of each, [B]"""
    labels: Tensor
    """numbers in facts["labels"], [B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """A wave of 30 to 60 steps, of any phase and frequency."""
    label = str(random.choice(sorted(WAVES)))
    phase = random.uniform(0, 2 * np.pi) + random.uniform(0.3, 1.0) * np.arange(random.integers(30, 60))
    values = WAVES[label](phase) + random.normal(0, 0.2, len(phase))
    return {"values": [round(float(value), 3) for value in values], "label": label}


def facts(records: list[Record]) -> dict[str, Any]:
    """The labels in the order of their numbers."""
    return {"labels": sorted({record["label"] for record in records})}


def length(record: Record) -> int:
    """Steps of an example. Raises UserError where not all of its values are numbers."""
    if not all(isinstance(value, int | float) for value in record["values"]):
        raise UserError(f"{record['id']}: its 'values' must be numbers; correct the record")
    return len(record["values"])


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Some examples as a batch, time first; a label that training never saw is number 0, and so counts as wrong."""
    values, lengths = pad([torch.tensor(record["values"], dtype=torch.float32)[:, None] for record in records])
    numbers = {label: number for number, label in enumerate(facts["labels"])}
    return Batch(values, lengths, torch.tensor([numbers.get(record["label"], 0) for record in records]), records)
