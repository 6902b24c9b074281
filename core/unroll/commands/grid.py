"""`invoke train` for a grid: skips finished runs, resumes stopped ones, and continues after a failure.

Each training is a process of its own, so that a crash, a leak or a signal stays where it is.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import unroll
from unroll import app as apps
from unroll import tracking
from unroll.commands.job import UNFINISHED, JobFolder
from unroll.commands.loading import prepared
from unroll.config import flat
from unroll.console import duration, number, say
from unroll.data.files import writing
from unroll.errors import UserError
from unroll.interrupt import Interrupted
from unroll.places import runs_folder
from unroll.search.grid import GridPoint, points
from unroll.surface import environment, task
from unroll.tracking import Logged
from unroll.tracking.code import code_digest
from unroll.training import budget

SOURCES = str(Path(unroll.__file__).parents[1])
"""where the processes of a grid find this very package"""
LONGEST = 200
"""letters of a file's name"""
State = Literal["finished", "under way", "stopped", "new"]


def train_grid(
    names: Sequence[str],
    preset: str | None,
    settings: Sequence[str],
    seeds: int = 0,
    jobs: int = 1,
    own: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Train every cell of the grid that is not trained yet, `jobs` at a time; `own`: further settings of single
    applications, by name.

    Returns:
        `{"runs": [...]}`: what each training gave, in the order of the grid, with "skipped" where it was there already,
        and the error of those that failed.
    """
    own, cells = own or {}, []
    for name in names:
        cells += points(apps.load(name), preset or "default", [*settings, *own.get(name, ())], seeds)
    return train_points(cells, jobs)


def train_points(cells: Sequence[GridPoint], jobs: int = 1) -> dict[str, Any]:
    """`train_grid` for points that are worked out already."""
    names = list(dict.fromkeys(cell.app.name for cell in cells))
    client = tracking.connect()
    done = {name: tracking.runs(client, name) for name in names}
    planned = [_plan(cell, done[cell.app.name]) for cell in cells]
    for name in names:
        tracking.experiment(client, name)  # once, here, rather than by several processes at the same moment
    _announce(planned)
    results = _Jobs(planned, jobs).run()
    failed = [result for result in results if result["status"] not in ("FINISHED", "RUNNING")]
    skipped = sum(bool(result.get("skipped")) for result in results)
    say(f"{len(results) - skipped - len(failed)} trained, {skipped} skipped, {len(failed)} failed")
    say(f"next: {task('compare', ','.join(names))}")
    return {"runs": results, "exit_code": int(bool(failed))}


@dataclass(frozen=True)
class Planned:
    """A cell, and what there is of it already."""

    cell: GridPoint
    state: State
    run: Logged | None = None


def _plan(cell: GridPoint, runs: Sequence[Logged]) -> Planned:
    """The newest run of the same configuration, code and data, preferring finished runs to stopped ones."""
    code = code_digest(cell.app.name)
    alike = [run for run in runs if _given(run.params) == _given(cell.params) and tracking.made_by(run) == {code}]
    if not any(run.status in ("FINISHED", *UNFINISHED) for run in alike):
        return Planned(cell, "new")
    # The seed changes neither the data nor how many there are.
    settings = tuple(setting for setting in cell.settings if setting.partition("=")[0].strip() != "train.seed")
    config = cell.config.override(["train.seed=0"]).model_dump_json()
    digest, chosen = _ahead(cell.app.name, cell.preset, settings, config)
    params = cell.params | chosen
    same = [run for run in alike if run.params == params and run.tags.get("data.digest") == digest]
    for run in same:
        if run.status == "FINISHED":
            return Planned(cell, "finished", run)
    for run in same:
        folder = JobFolder(run.id)
        if run.status == "RUNNING" and folder.locked:
            return Planned(cell, "under way", run)
        # One that failed by itself would fail again where it stopped.
        if run.status in ("RUNNING", "KILLED") and folder.resumable:
            return Planned(cell, "stopped", run)
    return Planned(cell, "new")


def _given(params: Mapping[str, str]) -> dict[str, str]:
    """The settings that training does not choose by itself."""
    return {key: value for key, value in params.items() if key not in budget.CHOSEN}


@cache
def _ahead(name: str, preset: str, settings: tuple[str, ...], config: str) -> tuple[str, dict[str, str]]:
    """(digest of the data, the settings that the training will choose), as the tracking store holds them; nothing where
    the data cannot be had, which the training will tell.
    """
    app = apps.load(name)
    given = type(app.presets["default"]).model_validate_json(config)
    try:
        data = prepared(app, given)
    except UserError:
        return "", {}
    chosen = flat(budget.planned(app, preset, settings, given, data))
    return data.digest, {key: str(chosen[key]) for key in budget.CHOSEN}


def _announce(planned: Sequence[Planned]) -> None:
    counts = {state: sum(one.state == state for one in planned) for state in ("finished", "under way", "stopped")}
    there = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    say(f"{len(planned)} trainings" + (f"; already there: {there}" if there else ""))


@dataclass
class _Jobs:
    """The running training processes."""

    planned: Sequence[Planned]
    jobs: int
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopping: bool = False

    def run(self) -> list[dict[str, Any]]:
        """Results in the order of the plan. Signals are forwarded to every training, which then stops as usual."""
        with ThreadPoolExecutor(max(self.jobs, 1)) as pool:
            futures = {pool.submit(self._one, one): place for place, one in enumerate(self.planned)}
            try:
                for count, future in enumerate(as_completed(futures), start=1):
                    self._tell(count, self.planned[futures[future]], future.result())
            except (KeyboardInterrupt, Interrupted) as error:
                self._stop(getattr(error, "number", signal.SIGINT))
                raise
        return [future.result() for future in futures]

    def _one(self, planned: Planned) -> dict[str, Any]:
        app, run = planned.cell.app.name, planned.run
        if planned.state == "finished" and run:
            metrics = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
            return {"app": app, "run": run.id, "status": "FINISHED", "metrics": metrics, "skipped": True}
        if planned.state == "under way" and run:
            return {"app": app, "run": run.id, "status": "RUNNING", "skipped": True}
        if self.stopping:
            return {"app": app, "status": "KILLED", "error": "not begun"}
        result, error = self._process(planned)
        return result or {"app": app, "status": "FAILED", "error": error, "settings": list(planned.cell.settings)}

    def _process(self, planned: Planned) -> tuple[dict[str, Any] | None, str]:
        """(result of the process, the error that it ended with). Its output is written to a file as it comes."""
        # -P: the current folder may hold an unroll of its own.
        words, path = [sys.executable, "-P", "-m", "unroll", *_words(planned)], _log_path(planned)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            log = path.open("w", encoding="utf-8")
        with log:
            process = subprocess.Popen(
                words, env=self._environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self.processes.add(process)
            if self.stopping:  # between the start and the line above
                process.send_signal(signal.SIGINT)
            process.wait()
        self.processes.discard(process)
        return _ended(process.returncode, path)

    def _environment(self) -> dict[str, str]:
        """Environment of the processes: they share the CPU cores, unless set otherwise, and use this very package."""
        threads = str(max(1, (os.cpu_count() or 1) // max(self.jobs, 1)))
        shared = {"OMP_NUM_THREADS": threads} if self.jobs > 1 else {}
        places = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
        return {**shared, **os.environ, **environment(), "PYTHONPATH": places}

    def _stop(self, number: int) -> None:
        self.stopping = True  # those that have not begun see it and do not
        for process in list(self.processes):
            process.send_signal(number)
        say("stopping; the same command resumes from here")

    def _tell(self, count: int, planned: Planned, result: dict[str, Any]) -> None:
        where = f"[{count}/{len(self.planned)}] {planned.cell.label}"
        if "error" in result:
            say(f"{where}: {result['status']}: {result['error']}")
            return
        shown = ", ".join(f"{name} {number(value)}" for name, value in list(result.get("metrics", {}).items())[:2])
        how = planned.state if result.get("skipped") else duration(result["seconds"])
        say(f"{where}: {shown or 'no result yet'} ({how}, run {result['run'][:8]})")


def _words(planned: Planned) -> Iterator[str]:
    yield from ("train", "--app", planned.cell.app.name, "--json")
    if planned.state == "stopped" and planned.run:
        yield from ("--resume", planned.run.id)
        return
    yield from ("--preset", planned.cell.preset)
    for setting in planned.cell.settings:
        yield from ("--set", setting)


def _ended(code: int, log: Path) -> tuple[dict[str, Any] | None, str]:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code == 0:
        result: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
        return result, ""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return None, (errors or [f"ended with code {code}; see {log}"])[-1]


def _log_path(planned: Planned) -> Path:
    return runs_folder() / "grid" / f"{planned.cell.label.replace(' ', '-').replace('/', '_')[:LONGEST]}.log"
