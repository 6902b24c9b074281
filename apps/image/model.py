"""What the networks of the three tasks have in common. Each has all that `predict` needs to know about pictures."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor, nn

from unroll.app import Report

from .data import Batch
from .options import Predicting


class Shape(NamedTuple):
    """Size and levels of the pictures, and their classes."""

    height: int
    width: int
    channels: int
    levels: int
    """grey levels of a channel"""
    classes: tuple[str, ...] = ()

    @property
    def extents(self) -> tuple[int, int, int]:
        """height, width, channels."""
        return self[:3]


class Network(nn.Module):
    """A network over pictures, with its loss and its metrics.

    Args:
        shape: of the pictures.
        asked: what `predict` does.
    """

    def __init__(self, shape: Shape, asked: Predicting | None = None) -> None:
        super().__init__()
        self.shape, self.classes, self.asked = shape, shape.classes, asked or Predicting()

    def scaled(self, pixels: Tensor) -> Tensor:
        """Levels of any integer type, scaled to black 0 to white 1."""
        return pixels.float() / (self.shape.levels - 1)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over a batch."""

    @abstractmethod
    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Metrics of a split, and a record for each picture."""


def record(id: str, reference: str, prediction: str, score: float) -> dict[str, Any]:
    """The columns that every record of an evaluation has."""
    return {"id": id, "reference": reference, "prediction": prediction, "score": score}
