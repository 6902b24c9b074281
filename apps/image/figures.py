"""Figures of an evaluation: which class was taken for which; completed or denoised pictures beside the originals."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from unroll.app import Report
from unroll.drawing.confusion import confusions

from .classification import Classifier
from .completion import PixelRNN
from .data import Batch
from .denoising import Denoiser, noisy
from .model import Network

SHOWN = 10
"""pictures in a column of a grid"""
DRAWN = 3
"""completions of each picture"""
Array = NDArray[Any]


@torch.no_grad()
def figures(model: Network, batches: Iterable[Batch], report: Report) -> dict[str, Figure]:
    """`confusion`; or `completions` and `new`; or `denoised`."""
    match model:
        case Classifier():
            return confusions(report.records, model.classes, "pictures")
        case PixelRNN():
            return completions(model, _first(batches))
        case Denoiser():
            return {"denoised": denoised(model, next(iter(batches)))}
        case _:
            raise TypeError(f"{type(model).__name__} is no network of this application")


def completions(model: PixelRNN, pixels: Tensor) -> dict[str, Figure]:
    """Pictures, the part that the model was given, and its completions; and pictures sampled from scratch."""
    keep, own = model.kept, torch.Generator(pixels.device).manual_seed(0)
    given = pixels.clone()
    given[:, keep:] = 0
    drawn = [model.complete(pixels, keep, own) for _ in range(DRAWN)]
    columns = {"original": pixels, "given": given} | {f"drawn {n}": one for n, one in enumerate(drawn, start=1)}
    new = model.complete(torch.zeros_like(pixels).repeat(5, 1, 1, 1), 0, own).chunk(5)
    return {
        "completions": _grid({name: _shown(model, one) for name, one in columns.items()}, keep),
        "new": _grid({f"new {n}": _shown(model, one) for n, one in enumerate(new, start=1)}),
    }


def denoised(model: Denoiser, batch: Batch) -> Figure:
    """Pictures, the same with noise, and denoised."""
    values = model.scaled(batch.pixels[:SHOWN])
    given = noisy(values, model.noise, batch.rows[:SHOWN])
    columns = {"original": values, "with noise": given, "denoised": model(given).clamp(0, 1)}
    return _grid({name: one.cpu().numpy() for name, one in columns.items()})


def _grid(rows: dict[str, Array], keep: int | None = None) -> Figure:
    """A row of pictures [N, H, W, C] for each name, with a line below the rows that were kept."""
    count = max(len(pictures) for pictures in rows.values())
    figure = Figure(figsize=(0.8 * count + 1, 0.9 * len(rows)), layout="constrained")
    for place, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), count, place * count + column + 1)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
            if keep is not None:
                axes.axhline(keep - 0.5, color="#E69F00", linewidth=1)
    return figure


def _shown(model: Network, pixels: Tensor) -> Array:
    return np.asarray(model.scaled(pixels).cpu())


def _first(batches: Iterable[Batch]) -> Tensor:
    return next(iter(batches)).pixels[:SHOWN]
