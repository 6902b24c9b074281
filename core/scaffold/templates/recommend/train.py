"""The trainer: loss on a batch, recall on a split, recommendations for what the user gives."""

from collections.abc import Iterable, Sequence

import torch
from torch.nn import functional as F

from core.app import Report, Score, Step
from core.errors import UserError

from .data import OUTSIDE, UNKNOWN, Batch, encode
from .model import ${Name}

SCORE = Score("recall@5", "max")
K = 5
"""items recommended"""


def step(model: ${Name}, batch: Batch, state: None = None) -> Step:
    """Mean cross-entropy over all items, for every click but the first."""
    scores = model(batch.clicks, batch.lengths)
    loss = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=OUTSIDE)
    return Step(loss, size=int(batch.lengths.sum()))


def evaluate(model: ${Name}, batches: Iterable[Batch]) -> Report:
    """The share of clicks that are among the K items recommended before them."""
    rows, hits, clicks = [], 0, 0
    for batch in batches:
        best = _best(model(batch.clicks, batch.lengths))  # [T, B, K]
        found = (best == batch.targets[..., None]).any(2)
        for number, record in enumerate(batch.records):
            steps = int(batch.lengths[number])
            right = int(found[:steps, number].sum())
            hits, clicks = hits + right, clicks + steps
            names = [model.items[item] for item in best[steps - 1, number].tolist()]
            row = {"id": record["id"], "reference": record["items"][-1], "prediction": ", ".join(names)}
            rows.append({**row, "score": right / steps})
    return Report({"recall@5": hits / clicks}, rows, "every click but the first, among all items|version 1")


def _best(scores: torch.Tensor) -> torch.Tensor:
    """The K items with the highest scores, the best first; never the unknown one."""
    known = scores[..., UNKNOWN + 1 :]
    return known.topk(min(K, known.shape[-1])).indices + UNKNOWN + 1


def predict(model: ${Name}, inputs: Sequence[str]) -> list[str]:
    """Recommendations after clicks that are written as a,b,c. Raises UserError for an item that is not known."""
    outputs = []
    for number, text in enumerate(inputs, start=1):
        items = [item.strip() for item in text.split(",")]
        strange = [item for item in items if item not in model.items[1:]]
        if strange:
            raise UserError(f"input {number}: the item {strange[0]!r} is not known; one that is: {model.items[1]}")
        scores = model(torch.tensor(encode(items, model.items))[:, None])
        outputs.append(", ".join(model.items[item] for item in _best(scores[-1, 0]).tolist()))
    return outputs
