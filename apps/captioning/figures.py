"""Pictures with their captions, and where the decoder attended at each word."""

from collections.abc import Iterable
from textwrap import fill

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unroll.app import Report

from .data import Batch
from .decode import write
from .model import Captioner, as_used

SHOWN = 9
"""pictures in the overview"""
COLUMNS = 8
"""words in a row of the attention picture"""
MOST_WORDS = 40
SHADE = LinearSegmentedColormap.from_list("shade", [(0.1, 0.1, 0.1, 0.75), (0.1, 0.1, 0.1, 0.0)])
"""darkens what was not attended to, and leaves the colours of the rest as they are"""


def figures(model: Captioner, batches: Iterable[Batch], report: Report) -> dict[str, Figure]:
    """`captions`: some pictures with their captions; `attention`: one picture, word by word (if there is attention).

    With a frozen encoder, batches hold no pictures, and there is nothing to show.
    """
    batch = next(iter(batches))
    if batch.pictures.dtype != torch.uint8:
        return {}
    made = {"captions": overview(batch, report)}
    return made | {"attention": attention(model, batch, 0)} if model.decoder.attention is not None else made


def overview(batch: Batch, report: Report) -> Figure:
    """The first pictures of a batch, each with its caption and its score."""
    figure = Figure(figsize=(9, 10), layout="constrained")
    written = {record["id"]: record for record in report.records}
    shown = list(zip(batch.pictures[:SHOWN].cpu().numpy(), batch.records, strict=False))
    for axes, (picture, record) in zip(
        figure.subplots(-(-len(shown) // 3), 3, squeeze=False).flat, shown, strict=False
    ):
        _show(axes, picture)
        one = written[record["id"]]
        axes.set_title(f"{fill(one['prediction'], 38)}\n(score {one['score']:.2f})", fontsize=9)
    return _without_empty(figure)


def attention(model: Captioner, batch: Batch, row: int) -> Figure:
    """Where the decoder attended as it wrote each word: what it attended to is bright."""
    picture = batch.pictures[row]
    # After training the model is still in training mode, where batch normalisation would learn from this picture.
    with as_used(model), torch.no_grad():
        caption = write(model, picture[None])[0][0]
        weights = looked(model, picture[None], caption)[:MOST_WORDS]
    words = [*caption.split(), "(end)"][:MOST_WORDS]
    figure = Figure(figsize=(10, 0.6 + 1.5 * -(-len(words) // COLUMNS)), layout="constrained")
    grid = figure.subplots(-(-len(words) // COLUMNS), COLUMNS, squeeze=False).flat
    for axes, word, places in zip(grid, words, weights, strict=False):
        _show(axes, picture.cpu().numpy())
        side = model.side
        image = axes.imshow(
            places, cmap=SHADE, extent=(-0.5, side - 0.5, side - 0.5, -0.5), vmin=0, vmax=weights.max(),
            interpolation="bilinear",
        )  # fmt: skip
        axes.set_title(word, fontsize=10)
    figure.colorbar(image, ax=figure.axes, label="weight of a place", shrink=0.8)
    figure.suptitle(f"{batch.records[row]['id']}: where each word looked", fontsize=11)
    return _without_empty(figure)


@torch.no_grad()
def looked(model: Captioner, picture: torch.Tensor, caption: str) -> NDArray[np.float32]:
    """Weights of the attention for each word of a caption and its end, as maps [T, h, w], of a picture [1, H, W, 3]."""
    seen = model.see(picture)
    state, maps = model.decoder.begin(seen, 1), []
    for token in [model.end, *model.tokeniser.encode(caption)]:
        _, state, weights = model.decoder.step(torch.tensor([token], device=picture.device), state, seen)
        assert weights is not None
        side = round(weights.shape[1] ** 0.5)  # pictures are square, so their annotations are as well
        maps.append(weights.view(side, side).cpu().numpy())
    return np.stack(maps)


def _show(axes: Axes, picture: NDArray[np.uint8]) -> None:
    axes.imshow(picture)
    axes.set_axis_off()


def _without_empty(figure: Figure) -> Figure:
    """Without the axes that nothing was drawn into."""
    for axes in [axes for axes in figure.axes if not axes.has_data()]:
        axes.remove()
    return figure
