"""Benchmark results as tables, as JSON and as a chart."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.side_by_side import Limit, Pair, Ratio, Result, geometric_mean, ratio
from unroll.errors import UserError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito 2008: safe for colour-blind readers"""
MARKS = "osD^vPX"


@dataclass(frozen=True)
class Table:
    """The results of a section."""

    name: str
    about: str
    results: list[Result]
    limit: Limit
    notes: list[str]
    load: tuple[list[float], list[float]]
    """the machine's load before and after"""


@dataclass(frozen=True)
class Summary:
    """A pair, summarised over all cases of its group."""

    group: str
    pair: Pair
    mean: Ratio
    least: Ratio
    where: str
    """the case of the least ratio"""
    cases: int

    @property
    def wanted(self) -> str:
        """The target, and whether it is reached."""
        mean, each = self.pair.mean, self.pair.each
        checks = [("mean", mean, self.mean), ("each", each, self.least)]
        said = [
            f"{what} {least:.2f}: {'yes' if found.middle >= least else 'NO'}"
            for what, least, found in checks
            if least is not None
        ]
        return ", ".join(said)


def summaries(results: list[Result]) -> list[Summary]:
    """One per group and pair, in order."""
    groups: dict[tuple[str, str], list[tuple[Result, Pair]]] = {}
    for result in results:
        for pair in result.case.pairs:
            groups.setdefault((result.case.group, str(pair)), []).append((result, pair))
    found = []
    for (group, _), members in groups.items():
        rounds = [result.rounds(pair) for result, pair in members]
        least = min(range(len(rounds)), key=lambda i: ratio(rounds[i]).middle)
        where, pair = members[least][0].case.name, members[least][1]
        found.append(Summary(group, pair, geometric_mean(rounds), ratio(rounds[least]), where, len(rounds)))
    return found


def show(table: Table, console: Console) -> None:
    """Print the section: each case, the summaries, the limit, the load."""
    console.print(f"\n[bold]{table.name}[/]: {table.about} Columns named after a peer: times as fast as that peer.")
    for dtype, rates in table.limit.rates.items():
        listed = ", ".join(f"{who} {rate / 1e9:.0f}" for who, rate in rates.items())
        console.print(f"limit, {dtype} product {table.limit.size}^3 in GFLOP/s: {listed}")
    console.print(f"load average before {table.load[0]}, after {table.load[1]}")
    peers = list(dict.fromkeys(pair.peer for result in table.results for pair in result.case.pairs))
    grid = Grid("case", "ours", "ms", "GFLOP/s", "of limit", *peers, box=SIMPLE)
    for result in table.results:
        for ours in dict.fromkeys(pair.ours for pair in result.case.pairs):
            grid.add_row(result.case.name, _label(result, ours), *_figures(result, ours), *_ratios(result, ours, peers))
    console.print(grid)
    sums = Grid("group", "ours / peer", "geometric mean", "least", "case", "wanted", box=SIMPLE)
    for one in summaries(table.results):
        if one.cases > 1 or one.wanted:
            sums.add_row(one.group, str(one.pair), str(one.mean), str(one.least), one.where, one.wanted)
    if sums.rows:
        console.print(sums)
    for note in table.notes:
        console.print(note)


def _label(result: Result, ours: str) -> str:
    ran = result.ran(ours)
    return f"{ours} ({ran})" if ran else ours


def _figures(result: Result, name: str) -> list[str]:
    seconds = result.seconds(name)
    rate = f"{result.rate(name) / 1e9:.1f}"
    return [f"{1e3 * seconds:.2f}", rate, f"{result.share(name):.0%}"]


def _ratios(result: Result, ours: str, peers: list[str]) -> list[str]:
    found = {pair.peer: str(ratio(result.rounds(pair))) for pair in result.case.pairs if pair.ours == ours}
    return [found.get(peer, "") for peer in peers]


def console() -> Console:
    """Output for tables: as wide as the terminal, or wide enough for the tables if there is none."""
    return Console(width=None if sys.stdout.isatty() else 150)


def folder(out: str | Path) -> Path:
    """Creates the folder `out`. Raises UserError if that fails, before anything is measured."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}; give a writable folder") from None
    return Path(out)


def write(tables: list[Table], machine: dict[str, Any], folder: Path) -> Path:
    """Writes recurrence.json: everything, including the seconds of every run in every round."""
    path = folder / "recurrence.json"
    path.write_text(json.dumps({"machine": machine, "sections": [_record(table) for table in tables]}, indent=1))
    return path


def finish(tables: list[Table], machine: dict[str, Any], folder: Path, console: Console) -> dict[str, Any]:
    """Writes recurrence.json and recurrence.png; returns a summary for programs."""
    numbers, picture = write(tables, machine, folder), folder / "recurrence.png"
    draw(tables, machine).savefig(picture, dpi=100)
    console.print(f"\n{_on(machine)}")
    console.print(f"written: {numbers}, {picture}")
    means = {
        f"{table.name}/{one.group}/{one.pair}": one.mean.middle for table in tables for one in summaries(table.results)
    }
    return {"machine": machine, "ratios": means, "numbers": str(numbers), "picture": str(picture)}


def _on(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, {machine['threads']} thread(s), {machine['clock']} time, torch {machine['torch']}"


def _record(table: Table) -> dict[str, Any]:
    cases = [
        {
            "group": result.case.group,
            "case": result.case.name,
            "tokens": result.case.tokens,
            "limits": {dtype: float(np.median(rates)) for dtype, rates in result.limits.items()},
            "runs": {
                name: {
                    "seconds": result.seconds(name), "rate": result.rate(name), "share": result.share(name),
                    "dtype": run.dtype, "ran": result.ran(name), "rounds": result.times[name],
                }
                for name, run in result.case.runs.items()
            },
            "ratios": {str(pair): ratio(result.rounds(pair))._asdict() for pair in result.case.pairs},
        }
        for result in table.results
    ]  # fmt: skip
    sums = [
        {
            "group": one.group, "pair": str(one.pair), "mean": one.mean._asdict(), "least": one.least._asdict(),
            "where": one.where, "wanted": one.wanted,
        }
        for one in summaries(table.results)
    ]  # fmt: skip
    limit = {"size": table.limit.size, "rates": table.limit.rates}
    load = dict(zip(("before", "after"), table.load, strict=True))
    return {
        "section": table.name, "about": table.about, "limit": limit, "load": load, "cases": cases, "summary": sums,
        "notes": table.notes,
    }  # fmt: skip


def draw(tables: list[Table], machine: dict[str, Any]) -> Figure:
    """One row per case: speed ratios with intervals, and shares of the limit.

    Each run has a colour and a marker; a ratio has the peer's colour and the marker of ours.
    """
    heights = [len(table.results) + 3.5 for table in tables]
    figure = Figure(figsize=(9.5, 0.2 * sum(heights) + 1.2), layout="constrained")
    grid = figure.subplots(len(tables), 2, squeeze=False, width_ratios=(3, 1.3), height_ratios=heights)
    for (left, right), table in zip(grid, tables, strict=True):
        looks = _looks(table.results)
        _draw_ratios(left, table, looks)
        _draw_shares(right, table, looks)
    figure.suptitle(
        f"{_on(machine)}\nleft: times as fast as the peer, 95 % intervals; right: share of the fastest matrix product",
        fontsize=9,
    )
    return figure


def _looks(results: list[Result]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each run."""
    names = dict.fromkeys(name for result in results for name in result.case.runs)
    return {name: (COLOURS[place], MARKS[place]) for place, name in enumerate(names)}


def _draw_ratios(axes: Axes, table: Table, looks: dict[str, tuple[str, str]]) -> None:
    pairs = {str(pair): pair for result in table.results for pair in result.case.pairs}
    for place, (name, example) in enumerate(pairs.items()):
        found = [
            (row + _shift(place, len(pairs)), ratio(result.rounds(pair)))
            for row, result in enumerate(table.results)
            for pair in result.case.pairs
            if str(pair) == name
        ]
        rows, values = zip(*found, strict=True)
        errors = [[v.middle - v.low for v in values], [v.high - v.middle for v in values]]
        middles, colour, mark = [v.middle for v in values], looks[example.peer][0], looks[example.ours][1]
        axes.errorbar(middles, rows, xerr=errors, label=name, color=colour, fmt=mark, ms=4, lw=1)
    axes.axvline(1, color="grey", lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_yticks(range(len(table.results)), [result.case.name for result in table.results], fontsize=7)
    _finish(axes, table, f"{table.name}: ours / peer", columns=3)


def _draw_shares(axes: Axes, table: Table, looks: dict[str, tuple[str, str]]) -> None:
    for place, (name, (colour, mark)) in enumerate(looks.items()):
        found = [(row, result.share(name)) for row, result in enumerate(table.results) if name in result.case.runs]
        rows = [row + _shift(place, len(looks)) for row, _ in found]
        axes.plot([share for _, share in found], rows, mark, color=colour, label=name, ms=4)
    axes.set_xlim(0, 1.05)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _finish(axes, table, "of the limit", columns=2)


def _shift(place: int, count: int) -> float:
    """Vertical offset, so that several markers in one row do not overlap."""
    return 0.6 * ((place + 0.5) / count - 0.5)


def _finish(axes: Axes, table: Table, title: str, columns: int) -> None:
    axes.set_ylim(len(table.results) - 0.4, -0.6)
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.grid(color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=8, loc="left")
    axes.legend(
        ncols=columns, fontsize=6, columnspacing=0.8, handletextpad=0.2,
        loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=2.8,
    )  # fmt: skip
