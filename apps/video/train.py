"""A training step, and an evaluation; what differs between the tasks is in the networks."""

from collections.abc import Iterable

from unroll.app import Report, Step

from .data import Batch
from .model import Network


def step(model: Network, batch: Batch, state: None = None) -> Step:
    """The loss of a batch. No state is carried: clips are whole."""
    return Step(model.loss(batch), size=batch.lengths.sum().item())


def evaluate(model: Network, batches: Iterable[Batch]) -> Report:
    """Accuracy over a split; or the errors of predicted frames, overall and at each step of the horizon."""
    return model.evaluate(batches)
