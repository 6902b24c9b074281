"""A training step, and an evaluation; what differs between the tasks is in the networks."""

from collections.abc import Iterable

from unroll.app import Report, Step

from .data import Batch
from .model import Network


def step(model: Network, batch: Batch, state: None = None) -> Step:
    """The loss of a batch: cross-entropy of the class, bits per pixel, or mean squared error of denoised pixels."""
    return Step(model.loss(batch), size=len(batch.labels))


def evaluate(model: Network, batches: Iterable[Batch]) -> Report:
    """Metrics of the model's task, and a record for each picture."""
    return model.evaluate(batches)
