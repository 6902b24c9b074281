"""What the networks of the three tasks have in common. Each holds what `predict` needs to know of pictures."""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from unroll.app import Report

from .data import Batch


class Shape(NamedTuple):
    """What pictures are like."""

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


class Asked(NamedTuple):
    """What `predict` does."""

    keep: float = 0.5
    temperature: float = 1.0
    seed: int = 0
    invert: bool = False
    folder: Path = Path("predicted")


ASKED = Asked()


class Network(nn.Module):
    """A network over pictures, with what it learns from and what it is measured by.

    Args:
        shape: of the pictures.
        asked: what `predict` does.
    """

    def __init__(self, shape: Shape, asked: Asked = ASKED) -> None:
        super().__init__()
        self.shape, self.classes, self.asked = shape, shape.classes, asked

    def scaled(self, pixels: Tensor) -> Tensor:
        """Levels, of whatever whole type, to black 0 to white 1."""
        return pixels.float() / (self.shape.levels - 1)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over a batch."""

    @abstractmethod
    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Metrics of a split, all of them means over pictures, and a record for each picture."""


def record(id: str, reference: str, prediction: str, score: float) -> dict[str, Any]:
    """What every record of an evaluation holds."""
    return {"id": id, "reference": reference, "prediction": prediction, "score": score}
