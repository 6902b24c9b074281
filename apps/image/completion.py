"""The probability of a picture, pixel by pixel: each given all rows above it and all pixels to its left."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.app import Mean, Report
from unroll.recurrence import Recurrent
from unroll.sequence.decoding import Sampling, restrict

from .data import Batch
from .model import Network, Shape, record
from .options import Predicting

MEANS = {"bits_per_pixel": Mean("score"), "bits_per_pixel_below": Mean("bits_per_pixel_below")}
KERNEL = (1, 5)
"""kernel of the convolutional LSTM, over the columns of its input row and of its previous state"""
PLACE = 4
"""features of a pixel above: its value, 1 (0 outside the picture), and the row and column of the pixel below it"""


class PixelRNN(Network):
    """p(picture) = product over pixels of p(x[r, c] | x[:r, :], x[r, :c]): exact, trained in H + W steps.

    A convolutional LSTM reads the picture row by row, shifted down by one: its maps at row r summarise the rows above
    for each column. A second network runs along all rows in parallel, and reads those maps and the pixel to the left.
    After van den Oord et al. 2016, "Pixel recurrent neural networks", arXiv 1601.06759 (Row LSTM), where the row itself
    is read by a masked convolution; here it is read by a recurrence that reaches back to its first pixel.

    Args:
        cell, hidden, layers, init: of the network along the row.
        maps: hidden maps of the network down the rows.
        dropout: dropout rate of the maps, between layers and before the output.
    """

    def __init__(
        self, shape: Shape, *, cell: str, hidden: int, layers: int, init: str | None, maps: int, dropout: float,
        asked: Predicting | None = None,
    ) -> None:  # fmt: skip
        super().__init__(shape, asked)
        self.above = Recurrent("convlstm", PLACE, maps, kernel_size=KERNEL)
        between = dropout if layers > 1 else 0.0
        self.along = Recurrent(cell, maps + 2, hidden, layers, dropout=between, init=init)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.along.output_size, shape.levels)

    def forward(self, values: Tensor) -> Tensor:
        """[B, H, W], black 0 to white 1 -> log probabilities of the levels of each pixel, [B, H, W, levels]."""
        batch, height, _ = values.shape
        rows = torch.stack([self._row_above(values, row) for row in range(height)])
        maps = self.dropout(self.above(rows)[0]).squeeze(3)  # [H, B, M, W]
        left = F.pad(torch.stack([values, torch.ones_like(values)], 2), (1, -1))  # [B, H, 2, W]
        steps = torch.cat([maps, left.transpose(0, 1)], 2)
        states, _ = self.along(steps.permute(3, 0, 1, 2).flatten(1, 2))  # [W, H x B, hidden]
        log_probs: Tensor = self.output(self.dropout(states)).log_softmax(-1)
        of_pixels: Tensor = log_probs.unflatten(1, (height, batch)).permute(2, 1, 0, 3)
        return of_pixels

    def bits(self, pixels: Tensor) -> Tensor:
        """-log2 of the probability of each pixel, [B, H, W], for levels [B, H, W, 1]."""
        log_probs = self(self.scaled(pixels[..., 0]))
        found: Tensor = log_probs.gather(3, pixels.long()).squeeze(3)
        return -found / math.log(2)

    def loss(self, batch: Batch) -> Tensor:
        """Bits per pixel."""
        return self.bits(batch.pixels).mean()

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Bits of all pixels, and of the rows that `predict` fills in given the others: exact, without sampling."""
        records = [row for batch in batches for row in self._measured(batch)]
        signature = f"exact negative log2-likelihood; below: rows {self.kept} and on, given those above"
        return Report.of_means(records, signature, MEANS)

    def _measured(self, batch: Batch) -> Iterator[dict[str, Any]]:
        bits = self.bits(batch.pixels)
        per_picture, below = bits.mean((1, 2)).tolist(), bits[:, self.kept :].mean((1, 2)).tolist()
        for id, label, whole, part in zip(batch.ids, batch.labels.tolist(), per_picture, below, strict=True):
            row = record(id, self.classes[label], f"{whole:.3f} bits per pixel", whole)
            yield row | {"bits_per_pixel_below": part}

    @property
    def kept(self) -> int:
        """Number of rows that `predict` keeps of a picture."""
        return round(self.asked.keep * self.shape.height)

    def complete(
        self, pixels: Tensor, keep: int, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Pictures [B, H, W, 1] whose rows from number `keep` on are sampled, pixel by pixel."""
        sampling, values, state = Sampling(temperature=temperature), self.scaled(pixels[..., 0]), None
        levels = pixels.clone()
        for row in range(pixels.shape[1]):
            maps, state = self.above.step(self._row_above(values, row), state)
            if row < keep:
                continue
            beside, along = torch.zeros(len(pixels), 2, device=values.device), None
            for column in range(pixels.shape[2]):
                output, along = self.along.step(torch.cat([maps[:, :, 0, column], beside], 1), along)
                chances = restrict(self.output(output).log_softmax(-1), sampling).exp()
                drawn = torch.multinomial(chances, 1, generator=generator)
                levels[:, row, column], values[:, row, column] = drawn, self.scaled(drawn)[:, 0]
                beside = torch.stack([values[:, row, column], torch.ones_like(beside[:, 0])], 1)
        return levels

    def _row_above(self, values: Tensor, row: int) -> Tensor:
        """Features of the row above row number `row`, [B, PLACE, 1, W]; for the first row, positions only."""
        batch, height, width = values.shape
        inside = torch.full((batch, width), float(row > 0), device=values.device)
        value = values[:, row - 1] * inside
        down = torch.full_like(inside, row / height)
        right = torch.linspace(0, 1, width, device=values.device).expand(batch, -1)
        return torch.stack([value, inside, down, right], 1).unsqueeze(2)
