"""The networks of the three tasks. Each holds what `predict` needs to know of pictures, so that it works by itself."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent
from unroll.sequence.pooling import Kind, Pooling

from .reading import Order, Sequence, Sweeps, distorted, patches


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
    """What the three networks have in common.

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


class Classifier(Network):
    """Logits of the classes from a picture that is read as a sequence.

    Args:
        order, patch, permutation: see `reading.Sequence`; "sweeps" reads a grid of patches, see `reading.Sweeps`.
        cell, hidden, layers, bidirectional, init: of the recurrent network; sweeps always have two directions.
        pooling: from the states to one vector.
        dropout: share of features dropped, between layers and before the output.
        distort: how far pictures are distorted in training, see `reading.distorted`.
    """

    def __init__(
        self, shape: Shape, *, order: Order, patch: int, permutation: int, cell: str, hidden: int, layers: int,
        bidirectional: bool, init: str | None, pooling: Kind, dropout: float, distort: float = 0.0,
        asked: Asked = ASKED,
    ) -> None:  # fmt: skip
        super().__init__(shape, asked)
        self.distort, self.patch = distort, patch
        options: dict[str, Any] = {"init": init}
        self.sequence: Sequence | None = None
        self.network: Sweeps | Recurrent
        if order == "sweeps":
            self.network = Sweeps(cell, patch * patch * shape.channels, hidden, layers, **options)
        else:
            self.sequence = Sequence(order, shape.extents, patch=patch, permutation=permutation)
            options |= {"bidirectional": bidirectional, "dropout": dropout if layers > 1 else 0.0}
            self.network = Recurrent(cell, self.sequence.output_size, hidden, layers, **options)
        directions = 2 if order == "sweeps" or bidirectional else 1
        self.pooling = Pooling((pooling,), self.network.output_size, directions)
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.pooling.output_size, len(shape.classes)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Levels [B, H, W, C] -> logits [B, classes]."""
        values = self.scaled(pixels)
        if self.training and self.distort:
            values = distorted(values, self.distort)
        if self.sequence is None:
            states = self.network(patches(values, self.patch)).flatten(1, 2).transpose(0, 1)
        else:
            states = self.network(self.sequence(values))[0]
        logits: Tensor = self.output(self.pooling(states, torch.full((states.shape[1],), len(states))))
        return logits


class Denoiser(Network):
    """What to add to each pixel of a noisy picture, which is read along its rows, then along its columns.

    Args:
        cell, hidden, layers, init: see `reading.Sweeps`.
        dropout: share of features dropped before the output.
        noise: standard deviation of the noise to learn from.
    """

    def __init__(
        self, shape: Shape, *, cell: str, hidden: int, layers: int, init: str | None, dropout: float, noise: float,
        asked: Asked = ASKED,
    ) -> None:  # fmt: skip
        super().__init__(shape, asked)
        self.noise = noise
        self.network = Sweeps(cell, shape.channels, hidden, layers, init=init)
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.network.output_size, shape.channels))

    def forward(self, noisy: Tensor) -> Tensor:
        """[B, H, W, C], black 0 to white 1, with noise -> the same without; not yet clamped to 0..1."""
        correction: Tensor = self.output(self.network(noisy))
        return noisy + correction
