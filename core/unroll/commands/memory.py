"""`invoke memory`: how far back each cell learns to carry information, on tasks of known lags."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from unroll.console import say, show_table
from unroll.diagnosis import pictures
from unroll.drawing.page import Page
from unroll.drawing.style import as_written
from unroll.errors import UsageError, did_you_mean
from unroll.places import runs_folder
from unroll.recurrence.memory_tasks import LAGS, TASKS, Measured, measure, vector_cells


def memory(
    cell: str | None = None, task: str | None = None, *, steps: int = 300, hidden: int = 32, longest: int = LAGS[-1]
) -> dict[str, Any]:
    """How far back each cell learns to carry information under the same budget.

    Args:
        cell: names of cells as a,b,c; None or `all` for all that read vectors.
        task: names of tasks, likewise.
        steps: optimiser steps at each lag.
        hidden: units.
        longest: lag.
    """
    cells = _chosen("--cell", cell, vector_cells())
    tasks = _chosen("--task", task, list(TASKS))
    lags = [lag for lag in LAGS if lag <= longest]
    if not lags or steps < 1 or hidden < 1:
        raise UsageError(f"--longest wants at least {LAGS[0]}, --steps and --hidden at least 1")
    measured: list[Measured] = []
    for one in cells:
        row = [measure(one, each, lags=lags, steps=steps, hidden=hidden) for each in tasks]
        said = ", ".join(f"{m.task} {m.reach}" for m in row)
        say(f"{one}: {said} steps ({sum(m.seconds for m in row):.0f} s)")
        measured += row
    reach = {one: {m.task: m.reach for m in measured if m.cell == one} for one in cells}
    show_table(f"reach in steps: {steps} training steps at each lag", [{"cell": k, **v} for k, v in reach.items()])
    path = runs_folder() / "memory.html"
    subtitle = f"{hidden} units, {steps} optimiser steps at each lag, lags up to {lags[-1]}"
    _page(measured, reach, subtitle).write(path)
    say(f"report: {path}")
    return {"status": "FINISHED", "reach": reach, "measured": [asdict(one) for one in measured], "report": str(path)}


@as_written()
def _page(measured: Sequence[Measured], reach: dict[str, dict[str, int]], subtitle: str) -> Page:
    made = Page("memory of recurrent cells", subtitle)
    made.figure(
        pictures.memory(measured), "share of each task solved by lag, for every cell",
        "A cell's reach is the longest lag up to which it solves at least 90 % of the task; a curve ends at the first "
        "lag that its cell does not solve.",
    )  # fmt: skip
    made.table([{"cell": cell, **reaches} for cell, reaches in reach.items()])
    return made


def _chosen(option: str, wanted: str | None, known: Sequence[str]) -> list[str]:
    if wanted in (None, "all"):
        return list(known)
    names = [name.strip() for name in str(wanted).split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name}: unknown; {did_you_mean(name, known)}")
    return names
