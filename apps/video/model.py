"""What the networks of both tasks have in common. Frames are [T, B, C, Y, X] with values from 0 to 1."""

from abc import abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from unroll.app import Report

from .data import Batch


class Network(nn.Module):
    """A network over frames, with its loss and its metrics.

    Args:
        channels: C, 1 (grey) or 3.
        size: Y = X, in pixels.
        every: every n-th frame of a video is read.
    """

    def __init__(self, *, channels: int, size: int, every: int) -> None:
        super().__init__()
        self.channels, self.size, self.every = channels, size, every

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over a batch."""

    @abstractmethod
    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Metrics of a split, and a record for each clip."""
