"""Figures of a diagnosis. docs/diagnose.md explains how to read them.

Colours are those of Okabe and Ito, and cividis: both stay apart for colour-blind eyes and in grey. Every curve has its
own line style or marker, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from torch import Tensor

from unroll.diagnosis.probe import Need, NetworkProbe
from unroll.recurrence.decay import LEFT
from unroll.recurrence.gates import Activation
from unroll.recurrence.gradients import CellGradients
from unroll.recurrence.memory_tasks import Measured

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
Array = NDArray[Any]
FLOOR, CEILING = 1e-6, 1e3
"""between which relative gradients are drawn"""


def gradient(probe: NetworkProbe, title: str = "") -> Figure:
    """Left: heat map of the state that reaches furthest. Right: what is left by lag, for all states of all cells."""
    states = sum(len(cell.norms) for cell in probe.cells)
    figure = Figure(figsize=(10, 4.2 if states <= 4 else 4.4 + 0.11 * states), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    cell = max(probe.cells, key=lambda one: one.longest()[1].reach()[0])
    _heat_map(figure, left, cell)
    _decays(right, probe)
    if title:
        figure.suptitle(title)
    return figure


def _heat_map(figure: Figure, axes: Axes, cell: CellGradients) -> None:
    name, _ = cell.longest()
    times, relative = _relative(cell, name)
    mesh = axes.pcolormesh(
        np.arange(relative.shape[1] + 1) - 0.5, np.arange(len(times) + 1) - 0.5, relative,
        cmap="cividis", vmin=np.log10(FLOOR), vmax=max(0.0, float(np.nanmax(relative))),
    )  # fmt: skip
    axes.set_facecolor("0.93")
    shown = np.unique(np.linspace(0, len(times) - 1, min(len(times), 9)).round().astype(int))
    axes.set_yticks(shown, [str(int(times[i])) for i in shown])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.5, int(times.max()) + 0.5)
    axes.set_xlabel("step k of the state Sₖ")
    axes.set_ylabel("step t of the error eₜ")
    axes.set_title(f"{cell.cell}, {cell.name}: {name} state", fontsize=10)
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label("log₁₀ (‖∂eₜ/∂Sₖ‖ / ‖∂eₜ/∂Sₜ‖)")


def _relative(cell: CellGradients, state: str) -> tuple[Tensor, Array]:
    """The steps t [N], and the log10 of ||de_t/dS_k|| / ||de_t/dS_t|| [N, T + 1]."""
    times, matrix = cell.matrix(state)
    now = matrix[torch.arange(len(times)), times]
    return times, (matrix / now[:, None]).clamp(FLOOR, CEILING).log10().numpy()


def _decays(axes: Axes, probe: NetworkProbe) -> None:
    curves = [(cell, name) for cell in probe.cells for name, norms in cell.norms.items() if bool((norms > 0).any())]
    for index, (cell, name) in enumerate(curves):
        decay = cell.decay(name)
        lag, left = np.arange(len(decay.left)), decay.left.clamp(FLOOR / 10, CEILING * 1e3).numpy()
        colour, rate = COLOURS[index % len(COLOURS)], decay.rate()
        label = f"{cell.name}: {name}, ×{rate:.3f} a step"
        axes.semilogy(lag, left, STYLES[index % len(STYLES)], color=colour, label=label, linewidth=1.8)
        axes.semilogy(lag, np.clip(rate**lag, FLOOR / 10, CEILING * 1e3), color=colour, linewidth=0.6, alpha=0.6)
    axes.axhline(LEFT, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
    axes.annotate("1 % left: the reach", (1, LEFT), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                  fontsize=8, color="0.3")  # fmt: skip
    seen = [int((cell.decay(name).left >= FLOOR).nonzero().max()) for cell, name in curves]
    axes.set_xlim(0, max(4, *seen) * 1.05)
    axes.set_ylim(FLOOR, max(2.0, min(CEILING, axes.get_ylim()[1])))
    axes.set_xlabel("lag t - k, steps")
    axes.set_ylabel("gradient left, relative to lag 0")
    axes.set_title("decay by lag; thin: fitted rate", fontsize=10)
    below: dict[str, Any] = (
        {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2} if len(curves) > 4 else {}
    )
    axes.legend(fontsize=7 if below else 8, **below)
    axes.grid(alpha=0.3)


def shares(probe: NetworkProbe) -> Figure:
    """The share of dE/dW and dE/dU that comes from lags of n and more, for each cell."""
    figure, axes = _plain("lag n, steps", "share from lags ≥ n")
    index, last = 0, 4
    for cell in probe.cells:
        for weight in cell.shares:
            from_lag = _share_from(cell, weight)
            label = f"{cell.name}: ∂E/∂{weight}"
            axes.plot(from_lag, STYLES[index % len(STYLES)], color=COLOURS[index % len(COLOURS)], label=label)
            index, last = index + 1, max(last, *np.flatnonzero(np.abs(from_lag) > 0.002))
    axes.set_xlim(0, 1.05 * last)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_title("where the gradient of the weights comes from", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def _share_from(cell: CellGradients, weight: str) -> Array:
    """[T + 1]: the share of the weight's gradient that comes from lags of 0, 1, ..., T and more."""
    return np.asarray(cell.share_by_lag(weight).flip(0).cumsum(0).flip(0))


def needs(found: Mapping[str, Need]) -> Figure:
    """The loss with a memory of n steps, and with all of it."""
    figure, axes = _plain("memory n, steps", "loss")
    for index, (name, need) in enumerate(found.items()):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(need.lags, need.losses, STYLES[index % len(STYLES)] + MARKERS[index], color=colour,
                  label=f"{name or 'the network'}: state reset n steps before")  # fmt: skip
        axes.axhline(need.full, color=colour, linewidth=0.8, linestyle=":", label="with all of its memory")
        axes.axvline(need.steps, color=colour, linewidth=0.8, alpha=0.6)
    axes.set_xscale("symlog", base=2, linthresh=1)
    axes.set_xticks(lags := sorted({lag for need in found.values() for lag in need.lags}), [str(n) for n in lags])
    axes.set_xlim(-0.3, 1.15 * max(lags))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title("how much memory the loss makes use of", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def gates(probe: NetworkProbe) -> Figure | None:
    """Mean and 5 to 95 % range of every gate and activation, with its saturated share; None where there are none."""
    rows: list[tuple[str, Activation]] = [
        (f"{cell.name}: {activation.name}", activation)
        for cell, activations in zip(probe.cells, probe.activations, strict=True)
        for activation in activations
    ]
    if not rows:
        return None
    figure = Figure(figsize=(7.5, 1.1 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, activation) in enumerate(rows):
        colour = COLOURS[0] if activation.function == "sigmoid" else COLOURS[5]
        axes.plot([activation.low, activation.high], [y, y], color=colour, linewidth=5, alpha=0.45)
        axes.plot(activation.mean, y, "o" if activation.function == "sigmoid" else "s", color=colour)
        what = "dead" if activation.function == "relu" else "saturated"
        axes.annotate(f"{100 * activation.saturated:.0f} % {what}", (1.01, y), xycoords=("axes fraction", "data"),
                      va="center", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("value: mean, and 5 to 95 % of all steps, rows and units")
    axes.set_title("gates (circles) and activations (squares)", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    return figure


def spectrum(norms: Mapping[str, tuple[Sequence[int], Any]]) -> Figure:
    """Spectral norms of dS_t/dS_k by lag: label -> (lags, [N, R])."""
    figure, axes = _plain("lag t - k, steps", "‖∂Sₜ/∂Sₖ‖, spectral norm")
    for index, (label, (lags, values)) in enumerate(norms.items()):
        middle = np.nanmedian(values, axis=1)
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(lags, np.nanmin(values, 1), np.nanmax(values, 1), color=colour, alpha=0.2, linewidth=0)
        axes.loglog(lags, middle, STYLES[index % len(STYLES)] + MARKERS[index % 8], color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lags := sorted({lag for lags, _ in norms.values() for lag in lags}), [str(lag) for lag in lags])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color="0.4", linewidth=0.8)
    axes.set_title("largest factor of any direction: median and range over rows", fontsize=10)
    axes.legend(fontsize=8)
    return figure


def memory(measured: Sequence[Measured]) -> Figure:
    """A panel per task: how much of the task each cell solves at each lag; the reach of each cell in the legend."""
    tasks = list(dict.fromkeys(one.task for one in measured))
    figure = Figure(figsize=(10, 3.3 * -(-len(tasks) // 2) + 0.4), layout="constrained")
    panels = figure.subplots(-(-len(tasks) // 2), min(2, len(tasks)), squeeze=False, sharey=True).flatten()
    cells = list(dict.fromkeys(one.cell for one in measured))
    for axes, task in zip(panels, tasks, strict=False):
        for one in (m for m in measured if m.task == task):
            index = cells.index(one.cell)
            style = STYLES[index % len(STYLES)] + MARKERS[index % len(MARKERS)]
            label, size = f"{one.cell}: {one.reach}", 4 + 8 * (1 - index / len(cells))
            # Hollow, and each a little smaller than the one before: several may stand in one place.
            axes.plot(one.lags, one.solved, style, color=COLOURS[index % len(COLOURS)], label=label, markersize=size,
                      markerfacecolor="none")  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(lags := sorted({n for m in measured if m.task == task for n in m.lags}), [str(n) for n in lags])
        axes.minorticks_off()
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("lag, steps")
        axes.set_ylabel("solved (0: chance, 1: all)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, title="reach, steps", title_fontsize=7)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    return figure


def intervals(title: str, unit: str, rows: Sequence[tuple[str, float, float, float]]) -> Figure:
    """One (label, value, low, high) a line; the first is what the others are compared with."""
    figure = Figure(figsize=(7.5, 1.1 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, (_, value, low, high) in enumerate(rows):
        axes.plot([low, high], [y, y], color=COLOURS[0 if y else 6], linewidth=2)
        axes.plot(value, y, "o" if y else "D", color=COLOURS[0 if y else 6])
    axes.axvline(rows[0][1], color="0.5", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    return figure


def _plain(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes
