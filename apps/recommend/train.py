"""A training step, and an evaluation."""

from collections.abc import Iterable
from typing import Any

from unroll.app import Report, Step

from .data import NOTHING, Batch
from .metrics import means
from .model import Recommender
from .results import Results, history


def step(model: Recommender, batch: Batch, state: Any = None) -> Step:
    """The loss per predicted click. Parallel sessions carry their state; whole sessions do not."""
    hidden, state = model(batch.items, batch.gaps, state, lengths=batch.lengths, reset=batch.reset)
    wanted = batch.targets != NOTHING
    loss = model.objective(model.output, hidden[wanted], batch.targets[wanted])
    return Step(loss, size=float(wanted.sum()), state=None if batch.reset is None else state)


def evaluate(model: Recommender, batches: Iterable[Batch]) -> Report:
    """Full ranking for every target click, given the clicks before it in its session."""
    results = Results(model.catalogue, model.decoding.sampled)
    for batch in batches:
        hidden, _ = model(batch.items, batch.gaps, lengths=batch.lengths)
        wanted = batch.targets != NOTHING
        rows, seen = hidden[wanted], history(batch)
        results.add(batch, lambda part, rows=rows, seen=seen: model.scores(rows[part], seen[part]))
    treated = "left out" if model.decoding.exclude_seen else "kept"
    metrics = results.metrics()
    signature = f"full ranking|ties:conservative|seen:{treated}|v1"
    return Report(metrics, results.records(), signature, means("share_of_optimum" in metrics))
