"""`invoke results`: the same cells in every application, with several seeds; a page and a chart of the results."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from unroll import app as apps
from unroll import tracking
from unroll.app import App
from unroll.commands.grid import train_grid
from unroll.comparison import charts
from unroll.comparison.groups import Comparison
from unroll.comparison.question import Question, ask_all
from unroll.comparison.tables import table, title
from unroll.config import Config
from unroll.console import duration, number, say
from unroll.data.files import atomic_write, writing
from unroll.drawing.style import as_written, png
from unroll.errors import UsageError

CELLS = "elman,lstm,gru,mingru"
PICTURE = "figures/results.png"
LEFT_OUT = ("best", "p", "effect", "peak MB")
"""columns of the tables that `invoke compare` shows and the page does not"""


def results(
    names: Sequence[str],
    preset: str | None = None,
    *,
    cells: str = CELLS,
    seeds: int = 3,
    jobs: int = 1,
    share: float = 1.0,
    folder: Path = Path("docs"),
    command: str = "",
) -> dict[str, Any]:
    """Train the missing runs of the grid, compare them, and write `results.md` and its chart.

    Args:
        names: applications.
        preset: of each; built-in data by default.
        cells: names as a,b,c; the first is what the others are compared with.
        seeds: of each cell.
        jobs: trainings side by side.
        share: of the preset's epochs that each training gets, rounded, at least 1; the learning rate's schedule is as
            much shorter.
        folder: to write to.
        command: that makes the page again; it stands on it.
    """
    grid = _Grid(names, preset or "default", tuple(cell.strip() for cell in cells.split(",")), seeds, share)
    done = train_grid(names, preset, [f"model.cell={cells}"], seeds, jobs, grid.shorter())
    client = tracking.connect()
    made = {result["run"] for result in done["runs"] if result["status"] == "FINISHED"}
    question = Question(by=("model.cell",), baseline=grid.cells[0])
    with_runs = [name for name in names if any(run.id in made for run in tracking.runs(client, name))]
    found = ask_all(client, with_runs, question, only=made) if with_runs else []
    failed = [result for result in done["runs"] if result["status"] != "FINISHED"]
    write(folder, grid, found, failed, command)
    return {"page": str(folder / "results.md"), "failed": failed, "exit_code": done["exit_code"]}


@dataclass(frozen=True)
class _Grid:
    """What was trained; the arguments of `results`."""

    names: Sequence[str]
    preset: str
    cells: tuple[str, ...]
    seeds: int
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"--share {self.share:g}: write a number above 0, up to 1")

    def apps(self) -> dict[str, tuple[App, Config]]:
        """Each application with its preset."""
        loaded = {name: apps.load(name) for name in self.names}
        return {name: (app, app.config(self.preset)) for name, app in loaded.items()}

    def epochs(self, config: Config) -> int:
        """Of a training."""
        return max(1, round(self.share * config.train.epochs))

    def shorter(self) -> dict[str, list[str]]:
        """Settings by application; none for the presets as they are."""
        if self.share == 1:
            return {}
        return {name: [f"train.epochs={self.epochs(config)}"] for name, (_, config) in self.apps().items()}


def write(
    folder: Path, grid: _Grid, found: Sequence[Comparison], failed: Sequence[dict[str, Any]], command: str
) -> None:
    """`results.md` and its picture, in `folder`."""
    if found:
        with as_written():
            picture = png(charts.matrix(found, grid.cells))
        with writing(folder / PICTURE):
            (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
            (folder / PICTURE).write_bytes(picture)
    atomic_write(folder / "results.md", _page(grid, found, failed, command).encode())
    say(f"written: {folder / 'results.md'}" + (f", {folder / PICTURE}" if found else ""))


def _page(grid: _Grid, found: Sequence[Comparison], failed: Sequence[dict[str, Any]], command: str) -> str:
    lines = ["# Which cell is best, and where?", "", *_setting(grid), "", "Made by", "", f"    {command}", ""]
    lines += [_made(found), "", *_budget(grid), ""]
    if found:
        lines += [f"![means over seeds by cell and application]({PICTURE})", "", *_summary(grid, found), ""]
    for one in found:
        rows = [{key: value for key, value in row.items() if key not in LEFT_OUT} for row in table(one, _unit(one))]
        lines += [f"## {title(one)}", "", *_table(rows), "", f"Tested over {one.how}.", ""]
        lines += [f"Note: {note}.\n" for note in one.notes]
    if failed:
        lines += ["## What failed", ""]
        lines += [f"- {each['app']} {' '.join(each.get('settings', []))}: {each.get('error', '')}" for each in failed]
    return "\n".join(lines).rstrip() + "\n"


def _setting(grid: _Grid) -> list[str]:
    others = [name for name in apps.names() if name not in grid.names]
    return [
        f"{len(grid.cells)} recurrent cells ({', '.join(grid.cells)}), each in {len(grid.names)} applications with "
        f"{grid.seeds} seeds, on the data of the preset `{grid.preset}`. Within an application nothing differs but "
        "`model.cell`: the same layers, hidden units, settings and number of epochs."
        + (f" Not on this page: {', '.join(others)}." if others else "")
    ]


def _made(found: Sequence[Comparison]) -> str:
    runs = [run for one in found for group in one.groups for run in group.runs]
    commits = sorted({run.tags.get("mlflow.source.git.commit", "")[:8] for run in runs} - {""})
    threads = os.environ.get("OMP_NUM_THREADS")
    parts = [
        f"on {datetime.now(UTC):%Y-%m-%d} ({platform.machine()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}",
        *([f"{threads} thread{'s' * (threads != '1')} each"] if threads else []),
        *([f"code of {', '.join(commits)}"] if commits else []),
    ]
    total = sum(run.seconds or 0.0 for run in runs)
    return (
        f"{', '.join(parts)}). {len(runs)} trainings took {duration(total)} in all. Times are by the clock: where the "
        "machine had other work to do, they are longer than they need be."
    )


def _budget(grid: _Grid) -> list[str]:
    found = grid.apps().items()
    epochs = ", ".join(f"{name} {grid.epochs(config)} of {config.train.epochs}" for name, (_, config) in found)
    usual = ", ".join(f"{name} {config.model.cell}" for name, (_, config) in found)
    lines = [
        "What this says, and what it does not:",
        "",
        f"- The other settings are the preset's, and were found with its own cell ({usual}); nothing was tuned for any "
        "other one.",
        "- The cells have the same number of hidden units, not of parameters.",
    ]
    if grid.share < 1:
        lines.insert(
            2,
            f"- Each training has {100 * grid.share:g} % of its preset's epochs ({epochs}), its learning rate's "
            "schedule with it. The page is about what a cell learns in that time: one that is slow to begin looks "
            "worse here than it would in the end, and no figure is what the application reaches.",
        )
    return lines


def _summary(grid: _Grid, found: Sequence[Comparison]) -> list[str]:
    """Counts only: how often a cell's mean is the best, and how often its difference is significant."""
    base, rows = grid.cells[0], []
    for name in grid.cells:
        own = [(group, one) for one in found for group in one.groups if group.name == name]
        first = sum(one.mode is not None and one.groups[0].name == name for _, one in own)
        signs = [charts.verdict(group, one)[0] for group, one in own]
        shown = ["", "", ""] if name == base else [signs.count("+"), signs.count("-"), signs.count("")]
        keys = ("cell", "best mean in", f"shown better than {base} in", "shown worse in", "not shown in")
        rows.append(dict(zip(keys, [name, first, *shown], strict=True)))
    tests = sum(group.p_holm is not None for one in found for group in one.groups)
    return [
        *_table(rows),
        "",
        f"Of {len(found)} applications. A difference is shown when its p-value is below 5 % after Holm's correction "
        f"over all {tests} differences of the page; the test takes the seeds and, where a metric is a mean over "
        "examples, the examples into account ([how](compare.md)). `seeds needed`: to show a difference of that size "
        "with a probability of 80 %.",
    ]


def _unit(found: Comparison) -> str:
    return apps.load(found.app).unit


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = f"| {' | '.join(rows[0])} |"
    body = [f"| {' | '.join(number(value).replace('|', '/') for value in row.values())} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *body]
