"""The trainer: loss on a batch, accuracy on a split, labels of what the user gives."""

from collections.abc import Iterable, Sequence

import torch
from torch.nn import functional as F

from core.app import Report, Score, Step
from core.errors import UserError

from .data import Batch
from .model import ${Name}

SCORE = Score("accuracy", "max")


def step(model: ${Name}, batch: Batch, state: None = None) -> Step:
    """Mean cross-entropy over the batch."""
    loss = F.cross_entropy(model(batch.values, batch.lengths), batch.labels)
    return Step(loss, size=len(batch.labels))


def evaluate(model: ${Name}, batches: Iterable[Batch]) -> Report:
    """The share of examples that get their own label."""
    rows = []
    for batch in batches:
        chosen = model(batch.values, batch.lengths).argmax(1).tolist()
        for record, number in zip(batch.records, chosen, strict=True):
            label = model.labels[number]
            row = {"id": record["id"], "reference": record["label"], "prediction": label}
            rows.append({**row, "score": float(label == record["label"])})
    accuracy = sum(row["score"] for row in rows) / len(rows)
    return Report({"accuracy": accuracy}, rows, "share of examples|version 1")


def predict(model: ${Name}, inputs: Sequence[str]) -> list[str]:
    """The label of each input: numbers with spaces between. Raises UserError for anything else."""
    return [_label(model, text, number) for number, text in enumerate(inputs, start=1)]


def _label(model: ${Name}, text: str, number: int) -> str:
    try:
        values = torch.tensor([float(word) for word in text.split()])
    except ValueError as error:
        raise UserError(f"input {number}: {error}; give numbers with spaces between") from None
    if not len(values) or not values.isfinite().all():
        raise UserError(f"input {number}: {text!r} is no sequence of finite numbers; give some with spaces between")
    scores = model(values[:, None, None], torch.tensor([len(values)]))
    return model.labels[int(scores.argmax())]
