"""Figures of an evaluation: how much a longer history helps."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unroll.app import Report

LAST = 20
"""number of clicks into a session that are shown"""


def figures(model: Any, batches: Iterable[Any], report: Report) -> dict[str, Figure]:
    """recall@20 by the number of clicks seen, beside the optimum if it is known."""
    if max(len(record["ranks"]) for record in report.records) == 1:
        return {}  # leave-one-out: one prediction a session
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    known = all(rank for record in report.records for rank in record["best_ranks"])
    lines = {"network": ("ranks", "-"), **({"best possible": ("best_ranks", "--")} if known else {})}
    for label, (key, style) in lines.items():
        places, recalls = _by_place([record[key] for record in report.records])
        axes.plot(places, recalls, style, marker="o", markersize=3, label=label)
    axes.set(xlabel="clicks seen so far", ylabel="recall@20", ylim=(0, None), title="What memory is worth")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return {"recall_by_clicks": figure}


def _by_place(ranks: list[list[int]]) -> tuple[list[int], list[float]]:
    """Fraction of ranks up to 20 after 1, 2, ... clicks."""
    hits = defaultdict(list)
    for session in ranks:
        for place, rank in enumerate(session[:LAST], start=1):
            hits[place].append(rank <= 20)
    return sorted(hits), [sum(hits[place]) / len(hits[place]) for place in sorted(hits)]
