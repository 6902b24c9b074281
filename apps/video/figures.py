"""Figures: which motion was taken for which; true and predicted frames; the error over the horizon."""

from collections.abc import Iterable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unroll.app import Report
from unroll.drawing.confusion import confusions

from . import baselines
from .classification import Classifier
from .data import Batch
from .forecasting import Forecaster
from .metrics import over_the_horizon

SHOWN = 4
"""clips on the contact sheet"""
LINES = {"network": ("#0072B2", "o"), "copy last": ("#D55E00", "s"), "linear motion": ("#009E73", "^")}
"""colours of Okabe and Ito's palette, distinguishable with any colour vision, and markers"""
UNITS = {"mse": "mean squared error", "ssim": "structural similarity", "psnr": "peak signal to noise (dB)"}


def figures(model: Classifier | Forecaster, batches: Iterable[Batch], report: Report) -> dict[str, Figure]:
    """`confusion` of classes; or `frames`, a contact sheet, and `horizon`, the error of each predicted frame."""
    if not isinstance(model, Forecaster):
        return confusions(report.records, model.classes, "clips")
    first = next(iter(batches))
    return {"frames": sheet(model, first), "horizon": horizon(model, batches)}


@torch.no_grad()
def sheet(model: Forecaster, batch: Batch) -> Figure:
    """For some clips, the input frames followed by the true ones, and below by the predicted ones."""
    frames = batch.frames[:, :SHOWN]
    predicted = torch.cat([frames[: model.context], model.predict(frames)])
    steps, count = frames.shape[:2]
    figure = Figure(figsize=(0.75 * steps + 1, 1.6 * count + 0.6), layout="constrained")
    grid = figure.subplots(2 * count, steps, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for clip in range(count):
        for row, (name, shown) in enumerate((("true", frames), ("predicted", predicted))):
            for step in range(steps):
                _draw(axes := grid[2 * clip + row, step], shown[step, clip], seen=step < model.context)
                if clip == row == 0:
                    axes.set_title(f"{step - model.context + 1}", fontsize=9)
            grid[2 * clip + row, 0].set_ylabel(name, fontsize=9)
    figure.suptitle(
        "frames after the last one seen (number 0); within bright edges: those to be predicted", fontsize=10
    )
    return figure


def _draw(axes: Axes, frame: torch.Tensor, seen: bool) -> None:
    picture = frame.clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    axes.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color="0.6" if seen else "#E69F00", linewidth=1 if seen else 1.6)


@torch.no_grad()
def horizon(model: Forecaster, batches: Iterable[Batch]) -> Figure:
    """The three measures at each step of the horizon, for the network and the simple methods."""
    methods = {"network": lambda frames, count: model.predict(frames), **baselines.METHODS}
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, len(UNITS))
    for name, method in methods.items():
        curves = over_the_horizon(baselines.measured(method, batches, model.context))
        colour, mark = LINES[name]
        for axes, (measure, values) in zip(panels, curves.items(), strict=True):
            axes.plot(range(1, len(values) + 1), values.cpu(), color=colour, marker=mark, markersize=4, label=name)
            axes.set(xlabel="frames after the last one seen", ylabel=UNITS[measure])
            axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    panels[0].legend()
    return figure
