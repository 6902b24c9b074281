"""Pictures of a comparison: differences, learning curves, metric against cost, and a matrix over applications.

Colours are those of Okabe and Ito; every group has a marker and a line style of its own, too.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from unroll.comparison.eligibility import COSTS
from unroll.comparison.groups import Comparison, Group
from unroll.diagnosis.pictures import COLOURS, MARKERS, STYLES
from unroll.tracking import Curve, Logged

BETTER, WORSE, UNCLEAR, BASE = "#A6D3EA", "#F5C99B", "#EEEEEE", "#FFFFFF"
POINTS = 60
"""at which learning curves are drawn"""
LABELS = {
    "parameters": "parameters",
    "seconds": "training time, seconds",
    "per_second": "{unit} per second",
    "memory_mb": "peak memory, MB",
}


def differences(found: Comparison) -> Figure:
    """Each group's difference to the baseline with its 95 % interval; a hollow mark has none."""
    figure = Figure(figsize=(7.5, 1.2 + 0.4 * len(found.groups)), layout="constrained")
    axes = figure.subplots()
    for y, group in enumerate(found.groups):
        against = group.against
        colour = verdict(group, found)[1]
        if against is None:
            axes.plot(0, y, "D", color=COLOURS[6])
        elif against.low is None or against.high is None:
            axes.plot(against.value, y, "o", color=COLOURS[6], markerfacecolor="none")
        else:
            axes.plot([against.low, against.high], [y, y], color=colour, linewidth=2)
            axes.plot(against.value, y, "o", color=colour)
    axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
    names = [f"{group.name} ({_seeds(group)})" for group in found.groups]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    base = found.baseline.name if found.baseline else ""
    better = {"min": " (left is better)", "max": " (right is better)", None: ""}[found.mode]
    axes.set_xlabel(f"{found.metric}: difference to {base}{better}")
    axes.grid(alpha=0.3, axis="x")
    return figure


def learning(found: Comparison, metric: str, scores: Mapping[str, Curve], times: Mapping[str, Curve]) -> Figure:
    """The validation score by optimiser step and by time: mean over seeds, and the range from worst to best.

    Args:
        found: for its groups.
        metric: of the curves.
        scores, times: run id -> curve of the metric, and of the seconds of training by the same steps.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for number, group in enumerate(found.groups):
        curves = [scores.get(run.id, {}) for run in group.runs]
        clocks = [times.get(run.id, {}) for run in group.runs]
        steps = [(list(curve), list(curve.values())) for curve in map(_ordered, curves) if curve]
        timed = [
            ([clock[step] for step in curve if step in clock], [curve[step] for step in curve if step in clock])
            for curve, clock in zip(map(_ordered, curves), clocks, strict=True)
        ]
        _band(panels[0], steps, number, group.name)
        _band(panels[1], [pair for pair in timed if pair[0]], number, group.name)
    for axes, label in zip(panels, ("optimiser step", "training time, seconds"), strict=True):
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(metric)
    panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].legend(fontsize=8)
    return figure


def against_cost(found: Comparison, unit: str) -> Figure | None:
    """The metric over each cost that the runs know: every run, and the mean of its group; None without any cost."""
    costs = [name for name in COSTS if any(group.cost(name) for group in found.groups)]
    if not costs:
        return None
    figure = Figure(figsize=(10, 3.4 * -(-len(costs) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(costs) // 2), 2, squeeze=False, sharey=True).flatten()
    for axes, cost in zip(panels, costs, strict=False):
        for number, group in enumerate(found.groups):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            known = [(run.metrics[COSTS[cost]], value) for run, value in _pairs(group) if COSTS[cost] in run.metrics]
            if known:
                axes.scatter(*zip(*known, strict=True), s=16, color=colour, alpha=0.5, marker=marker, linewidths=0)
                axes.plot(group.cost(cost), group.mean, marker, color=colour, markersize=9, markeredgecolor="white",
                          linestyle="none", label=group.name)  # fmt: skip
        values = [run.metrics.get(COSTS[cost], 0.0) for group in found.groups for run in group.runs]
        if min(values) > 0 and max(values) > 10 * min(values):
            axes.set_xscale("log")
        axes.set_xlabel(LABELS[cost].format(unit=unit))
        axes.grid(alpha=0.3)
    for axes in panels[::2]:
        axes.set_ylabel(found.metric)
    for axes in panels[len(costs) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=8)
    return figure


def matrix(comparisons: Sequence[Comparison], order: Sequence[str] = ()) -> Figure:
    """A row for each group, a column for each application: mean and standard deviation, coloured by the test's word.

    Args:
        comparisons: of each application.
        order: of the groups, by name; the others come after these, as they are found.
    """
    there = dict.fromkeys(group.name for found in comparisons for group in found.groups)
    names = list(dict.fromkeys([*(name for name in order if name in there), *there]))
    figure = Figure(figsize=(max(4.6, 1 + 0.98 * len(comparisons)), 1.5 + 0.56 * len(names)), layout="constrained")
    axes = figure.subplots()
    for x, found in enumerate(comparisons):
        for group in found.groups:
            y, (word, _), colour = names.index(group.name), verdict(group, found), _background(group, found)
            axes.add_patch(_square(x, y, colour))
            deviation = "" if group.std is None else f"± {group.std:.2g}"
            axes.text(x, y - 0.12, f"{group.mean:.4g}", ha="center", va="center", fontsize=9,
                      weight="bold" if group is found.groups[0] and found.mode else "normal")  # fmt: skip
            axes.text(x, y + 0.22, f"{deviation} {word}", ha="center", va="center", fontsize=8)
    arrows = {"min": "↓", "max": "↑", None: ""}
    labels = [
        f"{found.app}\n{textwrap.fill(found.metric.partition('/')[2].replace('_', ' '), 12)} {arrows[found.mode]}"
        for found in comparisons
    ]
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        "blue +: better than the baseline (=); orange -: worse\ngrey: no difference shown (Holm, 5 %); bold: best mean",
        fontsize=8,
    )
    return figure


def verdict(group: Group, found: Comparison) -> tuple[str, str]:
    """(+ better than the baseline, - worse, = the baseline itself, or empty where nothing is shown; its colour)."""
    if group.against is None:
        return "=", COLOURS[6]
    if group.p_holm is None or group.p_holm >= 0.05 or found.mode is None:
        return "", COLOURS[7]
    better = (group.against.value < 0) == (found.mode == "min")
    return ("+", COLOURS[0]) if better else ("-", COLOURS[5])


def _background(group: Group, found: Comparison) -> str:
    return {"=": BASE, "": UNCLEAR, "+": BETTER, "-": WORSE}[verdict(group, found)[0]]


def _square(x: int, y: int, colour: str) -> Rectangle:
    return Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor=colour, edgecolor="0.8")


def _band(axes: Axes, curves: Sequence[tuple[Sequence[float], Sequence[float]]], number: int, name: str) -> None:
    """Mean and range of curves over the stretch that all of them cover."""
    if not curves:
        return
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if high <= low:
        low, high = min(x[0] for x, _ in curves), max(x[-1] for x, _ in curves)
    grid = np.linspace(low, high, POINTS)
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    axes.plot(grid, values.mean(0), style, color=colour, label=name)
    axes.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)


def _ordered(curve: Curve) -> Curve:
    return {step: curve[step] for step in sorted(curve) if math.isfinite(curve[step])}


def _pairs(group: Group) -> "zip[tuple[Logged, float]]":
    return zip(group.runs, group.values, strict=True)


def _seeds(group: Group) -> str:
    return f"{len(group.values)} seed{'s' if len(group.values) > 1 else ''}"
