"""Removing noise from pictures."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.app import Mean, Report

from .data import Batch
from .model import Network, Shape, record
from .options import Predicting
from .reading import Sweeps


class Denoiser(Network):
    """Predicts a correction for each pixel of a noisy picture, which it reads along its rows, then along its columns.

    Args:
        cell, hidden, layers, init: see `reading.Sweeps`.
        dropout: dropout rate before the output.
        noise: standard deviation of the noise in training.
    """

    def __init__(
        self, shape: Shape, *, cell: str, hidden: int, layers: int, init: str | None, dropout: float, noise: float,
        asked: Predicting | None = None,
    ) -> None:  # fmt: skip
        super().__init__(shape, asked)
        self.noise = noise
        self.network = Sweeps(cell, shape.channels, hidden, layers, init=init)
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.network.output_size, shape.channels))

    def forward(self, noisy: Tensor) -> Tensor:
        """Noisy pictures [B, H, W, C], black 0 to white 1 -> denoised ones, not yet clamped to 0..1."""
        correction: Tensor = self.output(self.network(noisy))
        return noisy + correction

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error per pixel, with noise that is sampled at every step."""
        values = self.scaled(batch.pixels)
        return F.mse_loss(self(noisy(values, self.noise)), values)

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Mean squared error per pixel, and the peak signal-to-noise ratio in dB."""
        records = [row for batch in batches for row in self._denoised(batch)]
        signature = f"normal noise of deviation {self.noise:g}, drawn once for each picture"
        report = Report.of_means(records, signature, {"mse": Mean("score")})
        report.metrics["psnr"] = -10 * math.log10(report.metrics["mse"])
        return report

    def _denoised(self, batch: Batch) -> Iterator[dict[str, Any]]:
        values = self.scaled(batch.pixels)
        given = noisy(values, self.noise, batch.rows)
        before, after = (((x - values) ** 2).mean((1, 2, 3)).tolist() for x in (given, self(given).clamp(0, 1)))
        for id, old, new in zip(batch.ids, before, after, strict=True):
            yield record(id, f"mse {old:.4f} with noise", f"mse {new:.4f}", new)


def noisy(values: Tensor, deviation: float, rows: Tensor | None = None) -> Tensor:
    """[B, H, W, C] with Gaussian noise, clamped to black and white.

    With `rows` [B], the numbers of the pictures, the noise is a function of the picture's number.
    """
    if rows is None:
        drawn = torch.randn_like(values)
    else:
        own = [torch.Generator().manual_seed(row) for row in rows.tolist()]
        drawn = torch.stack([torch.randn(values.shape[1:], generator=one) for one in own]).to(values.device)
    return (values + deviation * drawn).clamp(0, 1)
