"""The trainer: loss on a batch, mean absolute error on a split, forecasts for the user's inputs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from unroll.app import Data, Mean, Report, Score, Step
from unroll.errors import UserError

from .data import Batch, inputs
from .model import Power

SCORE = Score("mae", "min")


def step(model: Power, batch: Batch, state: None = None) -> Step:
    """Mean absolute error of the scaled change, over all readings that have a next one."""
    errors = (model(batch.inputs, batch.lengths) - batch.targets).abs()
    inside = torch.arange(len(errors), device=errors.device)[:, None] < batch.lengths.to(errors.device)
    return Step(errors[inside].mean(), size=int(batch.lengths.sum()))


def evaluate(model: Power, batches: Iterable[Batch]) -> Report:
    """Mean absolute error of the next reading, in kilowatts."""
    rows, total, readings = [], 0.0, 0
    for batch in batches:
        changes = model(batch.inputs, batch.lengths) * model.scale
        for number, record in enumerate(batch.records):
            power = torch.tensor(record["kilowatts"])
            found = power[:-1] + changes[: len(power) - 1, number].cpu()
            errors = (found - power[1:]).abs()
            total, readings = total + errors.sum().item(), readings + len(errors)
            row = {"id": record["id"], "reference": record["kilowatts"][-1], "prediction": round(found[-1].item(), 3)}
            more = {"score": errors.mean().item(), "error": errors.sum().item(), "readings": len(errors)}
            rows.append({**row, **more})
    means = {"mae": Mean("error", "readings")}
    return Report({"mae": total / readings}, rows, "kilowatts, the next reading of each|version 1", means)


def baselines(_: object, data: Data) -> dict[str, dict[str, float]]:
    """The error of repeating the last reading."""
    changes = [abs(b - a) for batch in data.test for r in batch.records for a, b in pairwise(r["kilowatts"])]
    return {"last reading": {"mae": sum(changes) / len(changes)}}


def predict(model: Power, inputs: Sequence[str]) -> list[str]:
    """Power at the last hour of HOUR:KILOWATTS HOUR:KILOWATTS ... HOUR. Raises UserError for anything else."""
    return [f"{_forecast(model, text, number):.2f} kW" for number, text in enumerate(inputs, start=1)]


def _forecast(model: Power, text: str, number: int) -> float:
    *readings, last = text.split() or [""]
    try:
        hours, power = zip(*(map(float, reading.split(":")) for reading in readings), strict=True)
        at = [*hours, float(last)]
    except ValueError:
        raise UserError(f"input {number}: {text!r}; write HOUR:KILOWATTS HOUR:KILOWATTS HOUR") from None
    if sorted(set(at)) != at:
        raise UserError(f"input {number}: {text!r}; hours must be ascending")
    change = model(inputs(at, list(power), model.scale)[:, None])[-1, 0].item()
    return float(power[-1] + change * model.scale)
