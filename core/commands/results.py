"""`invoke results`: the same cells in every application, with several seeds; a page and a picture of what came out."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import app as apps
from core.commands.compare import Question, ask_all
from core.commands.grid import train_grid
from core.console import number, say
from core.data.files import atomic_write, writing
from core.errors import UsageError
from core.training import charts, tracking
from core.training.compare import Comparison
from core.training.compare_tables import explained, table, title

CELLS = "elman,lstm,gru,mingru"
PICTURE = "figures/results.png"


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
    """Train what is missing of the grid, compare it, and write `results.md` and its picture.

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
    if not 0 < share <= 1:
        raise UsageError(f"--share {share:g}: write a number above 0, up to 1")
    shorter = {name: [f"train.epochs={epochs}"] for name, epochs in _epochs(names, preset, share).items()}
    done = train_grid(names, preset, [f"model.cell={cells}"], seeds, jobs, shorter if share < 1 else {})
    client = tracking.connect()
    made = {result["run"] for result in done["runs"] if result["status"] == "FINISHED"}
    question = Question(by=("model.cell",), baseline=cells.split(",")[0].strip())
    with_runs = [name for name in names if any(run.id in made for run in tracking.runs(client, name))]
    found = ask_all(client, with_runs, question, only=made) if with_runs else []
    failed = [result for result in done["runs"] if result["status"] != "FINISHED"]
    if found:
        with writing(folder / PICTURE):
            (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
            charts.matrix(found).savefig(folder / PICTURE, dpi=110)
    atomic_write(folder / "results.md", _page(found, failed, command).encode())
    say(f"written: {folder / 'results.md'}" + (f", {folder / PICTURE}" if found else ""))
    return {"page": str(folder / "results.md"), "failed": failed, "exit_code": done["exit_code"]}


def _epochs(names: Sequence[str], preset: str | None, share: float) -> dict[str, int]:
    """Of each application's trainings."""
    whole = {name: apps.load(name).config(preset or "default").train.epochs for name in names}
    return {name: max(1, round(share * epochs)) for name, epochs in whole.items()}


def _page(found: Sequence[Comparison], failed: Sequence[dict[str, Any]], command: str) -> str:
    lines = ["# Which cell is best, and where?", "", "Made by:", "", f"    {command}", "", _machine(), ""]
    if found:
        lines += [f"![means over seeds by cell and application]({PICTURE})", "", _headline(found), ""]
    for one in found:
        lines += [f"## {title(one)}", "", *_table(table(one, apps.load(one.app).unit)), "", f"{explained(one)}.", ""]
        lines += [f"Note: {note}.\n" for note in one.notes]
    if failed:
        lines += ["## What failed", ""]
        lines += [f"- {each['app']} {' '.join(each.get('settings', []))}: {each.get('error', '')}" for each in failed]
    return "\n".join(lines).rstrip() + "\n"


def _machine() -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}. Times are wall-clock."
    )


def _headline(found: Sequence[Comparison]) -> str:
    """Nothing but counts: how often a cell's mean is the best, and how often its difference is shown."""
    base = found[0].baseline.name if found[0].baseline else ""
    parts = []
    for name in dict.fromkeys(group.name for one in found for group in one.groups):
        first = sum(one.mode is not None and one.groups[0].name == name for one in found)
        better, worse = (sum(charts.verdict(g, one)[0] == sign for one in found for g in one.groups if g.name == name)
                         for sign in "+-")  # fmt: skip
        shown = "" if name == base else f", shown to be better than {base} in {better} and worse in {worse}"
        parts.append(f"{name}: best mean in {first} of {len(found)}{shown}")
    return "; ".join(parts) + " (Holm's correction over all cells of the picture, 5 %)."


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = f"| {' | '.join(rows[0])} |"
    body = [f"| {' | '.join(number(value).replace('|', '/') for value in row.values())} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *body]
