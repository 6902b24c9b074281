"""Classifying pictures that are read as sequences."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.app import Mean, Report
from unroll.recurrence import Recurrent
from unroll.sequence.pooling import Kind, Pooling

from .data import Batch
from .model import Network, Shape, record
from .options import Predicting
from .reading import Order, Sequence, Sweeps, patches

MEANS = {"accuracy": Mean("score", share=True), "bits_per_image": Mean("bits")}


class Classifier(Network):
    """Logits of the classes from a picture that is read as a sequence.

    Args:
        order, patch, permutation: see `reading.Sequence`; "sweeps" reads a grid of patches, see `reading.Sweeps`.
        cell, hidden, layers, bidirectional, init: of the recurrent network; sweeps are always bidirectional.
        pooling: how the states are pooled into one vector.
        dropout: dropout rate between layers and before the output.
        distort: maximum distortion of pictures in training, see `distorted`.
    """

    def __init__(
        self, shape: Shape, *, order: Order, patch: int, permutation: int, cell: str, hidden: int, layers: int,
        bidirectional: bool, init: str | None, pooling: Kind, dropout: float, distort: float = 0.0,
        asked: Predicting | None = None,
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

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the class."""
        return F.cross_entropy(self(batch.pixels), batch.labels)

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Accuracy, and the surprisal of the correct class in bits."""
        records = [row for batch in batches for row in self._named(batch)]
        return Report.of_means(records, "share of pictures whose most probable class is right", MEANS)

    def _named(self, batch: Batch) -> Iterator[dict[str, Any]]:
        log_probs = self(batch.pixels).log_softmax(1)
        bits = (-log_probs.gather(1, batch.labels[:, None])[:, 0] / math.log(2)).tolist()
        chances, found = log_probs.exp().max(1)
        for row, id in enumerate(batch.ids):
            wanted, named = self.classes[batch.labels[row]], self.classes[found[row]]
            more = {"probability": chances[row].item(), "bits": bits[row]}
            yield record(id, wanted, named, float(wanted == named)) | more


def distorted(pixels: Tensor, most: float) -> Tensor:
    """[B, H, W, C], each picture randomly shifted, rotated, scaled and sheared; padded with black.

    Args:
        most: maximum difference of each entry of the affine matrix from the identity; a shift of 1 is half the picture.
    """
    nothing = torch.eye(2, 3, device=pixels.device)
    maps = nothing + most * (2 * torch.rand(len(pixels), 2, 3, device=pixels.device) - 1)
    images = pixels.permute(0, 3, 1, 2)
    places = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, places, align_corners=False).permute(0, 2, 3, 1)
