"""The processes of a grid: what they share, what is said of each, and how they end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unroll.training.toy import APP
from unroll import app as apps
from unroll.commands import grid
from unroll.commands.grid import Planned, _Jobs
from unroll.errors import UserError
from unroll.interrupt import Interrupted
from unroll.search.grid import expand, points
from unroll.tracking import Logged


def logged(id: str = "a" * 32, status: str = "FINISHED", **metrics: float) -> Logged:
    return Logged(id, "n", status, 0.0, 1.0, {}, {name.replace("_", "/"): v for name, v in metrics.items()}, {})


def plan(*states: str) -> list[Planned]:
    cells = expand(APP, "default", ["model.hidden=" + ",".join(str(4 + n) for n in range(len(states)))])
    runs = {
        "finished": logged(test_mse=0.5, train_loss=9.0),
        "under way": logged(status="RUNNING"),
        "stopped": logged(),
    }
    return [Planned(cell, state, runs.get(state)) for cell, state in zip(cells, states, strict=True)]  # type: ignore[arg-type]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(grid, "say", lines.append)
    return lines


class Process:
    """One that has ended, unless `wait` does more."""

    def __init__(self, code: int, wait: Any = lambda: None, sent: list[int] | None = None) -> None:
        self.returncode, self.wait, self.sent = code, wait, [] if sent is None else sent

    def send_signal(self, number: int) -> None:
        self.sent.append(number)


class Trains:
    """In place of a process that trains."""

    def __init__(self, code: int, output: str) -> None:
        self.code, self.output, self.words, self.environments = code, output, list[list[str]](), list[Any]()

    def __call__(self, words: list[str], *, env: Any, stdout: Any, stderr: Any, start_new_session: bool) -> Any:
        assert stderr == subprocess.STDOUT and start_new_session
        self.words.append(words)
        self.environments.append(env)
        stdout.write(self.output)
        stdout.flush()
        return Process(self.code)


DONE = {"app": "toy", "run": "b" * 32, "status": "FINISHED", "metrics": {"test/mse": 0.25, "test/b": 1, "test/c": 2},
        "seconds": 61.0}  # fmt: skip


def test_what_each_training_gave_comes_in_the_order_of_the_plan(said: list[str], monkeypatch: Any) -> None:
    trains = Trains(0, f"epoch 1\n{{old}}\n{json.dumps(DONE)}\n")
    monkeypatch.setattr(grid.subprocess, "Popen", trains)
    planned = plan("finished", "under way", "stopped", "new")
    assert _Jobs(planned, 1).run() == [
        {"app": "toy", "run": "a" * 32, "status": "FINISHED", "metrics": {"test/mse": 0.5}, "skipped": True},
        {"app": "toy", "run": "a" * 32, "status": "RUNNING", "skipped": True},
        DONE,
        DONE,
    ]
    assert [line.partition("] ")[0] for line in said] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert {line.partition("] ")[2] for line in said} == {  # they may end in any order
        f"toy model.hidden=4: test/mse 0.5 (finished, run {'a' * 8})",
        f"toy model.hidden=5: no result yet (under way, run {'a' * 8})",
        f"toy model.hidden=6: test/mse 0.25, test/b 1 (1:01, run {'b' * 8})",
        f"toy model.hidden=7: test/mse 0.25, test/b 1 (1:01, run {'b' * 8})",
    }
    assert [words[:4] for words in trains.words] == [[sys.executable, "-P", "-m", "unroll"]] * 2
    assert trains.words[0][4:] == [*["train", "--app", "toy", "--json", "--resume"], "a" * 32]
    assert trains.words[1][4:] == ["train", "--app", "toy", "--json", "--preset", "default", "--set", "model.hidden=7"]
    assert grid._log_path(planned[3]).read_text().startswith("epoch 1\n")


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("error: first\nerror: second\nmore\n", "second"),
        ("Traceback\n", "ended with code 3; see {log}"),
        ("\xff", None),
    ],
)
def test_a_training_that_fails_tells_its_last_error(
    output: str, error: str | None, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid.subprocess, "Popen", Trains(3, output))
    [planned] = plan("new")
    wanted = (error or "ended with code 3; see {log}").format(log=grid._log_path(planned))
    settings = ["model.hidden=4"]
    assert _Jobs([planned], 1).run() == [{"app": "toy", "status": "FAILED", "error": wanted, "settings": settings}]
    assert said == [f"[1/1] {planned.cell.label}: FAILED: {wanted}"]


@pytest.mark.parametrize(
    ("cores", "jobs", "own", "threads"),
    [(8, 1, None, None), (8, 3, None, "2"), (2, 4, None, "1"), (8, 2, "7", "7"), (None, 2, None, "1")],
)
def test_jobs_share_the_cores(
    cores: int | None, jobs: int, own: str | None, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setenv("PYTHONPATH", "mine")
    found = _Jobs([], jobs)._environment()
    assert found.get("OMP_NUM_THREADS") == threads
    assert found["PYTHONPATH"] == f"{grid.SOURCES}{os.pathsep}mine" and (Path(grid.SOURCES) / "unroll").is_dir()


def test_a_signal_is_handed_on_and_nothing_more_begins(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    jobs = _Jobs(plan("new", "new"), 1)

    def train(words: Any, **_: Any) -> Any:
        return Process(1, lambda: jobs._stop(signal.SIGTERM), sent)

    monkeypatch.setattr(grid.subprocess, "Popen", train)
    jobs.run()
    assert sent == [signal.SIGTERM]
    assert "[2/2] toy model.hidden=5: KILLED: not begun" in said and not jobs.processes


@pytest.mark.parametrize(("error", "number"), [(KeyboardInterrupt(), signal.SIGINT), (Interrupted(15), 15)])
def test_a_grid_that_is_interrupted_stops_all(error: BaseException, number: int, monkeypatch: Any) -> None:
    jobs, stopped = _Jobs(plan("finished"), 1), list[int]()

    def tell(*_: Any) -> None:
        raise error

    monkeypatch.setattr(jobs, "_tell", tell)
    monkeypatch.setattr(jobs, "_stop", stopped.append)
    with pytest.raises(type(error)):
        jobs.run()
    assert stopped == [number]


@pytest.mark.parametrize(
    ("results", "line", "code"),
    [
        ([{"status": "FINISHED"}, {"status": "FINISHED", "skipped": True}], "1 trained, 1 skipped, 0 failed", 0),
        ([{"status": "FAILED"}, {"status": "FINISHED"}, {"status": "KILLED"}], "1 trained, 0 skipped, 2 failed", 1),
        ([{"status": "RUNNING", "skipped": True}], "0 trained, 1 skipped, 0 failed", 0),
    ],
)
def test_a_grid_says_what_became_of_it(
    results: Any, line: str, code: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "load", lambda name: APP)
    monkeypatch.setattr(grid.tracking, "connect", lambda: None)
    monkeypatch.setattr(grid.tracking, "runs", lambda client, name: [])
    monkeypatch.setattr(grid.tracking, "experiment", lambda client, name: "")
    asked: list[Any] = []

    class Jobs:
        def __init__(self, planned: Any, jobs: int) -> None:
            asked.append(([one.cell.label for one in planned], jobs))

        def run(self) -> Any:
            return results

    monkeypatch.setattr(grid, "_Jobs", Jobs)
    done = grid.train_grid(["toy"], None, ["model.hidden=4,5"], jobs=3, own={"toy": ["train.seed=7"]})
    assert done == {"runs": results, "exit_code": code}
    labels = [f"toy model.hidden={hidden} train.seed=7" for hidden in (4, 5)]
    assert asked == [(labels, 3)] and said[0] == "2 trainings" and line in said


def test_what_is_there_already_is_counted(said: list[str]) -> None:
    grid._announce(plan("finished", "finished", "new", "stopped"))
    grid._announce(plan("new"))
    assert said == ["4 trainings; already there: 2 finished, 1 stopped", "1 trainings"]


def test_a_wrong_setting_of_a_grid_names_the_application() -> None:
    with pytest.raises(UserError, match=r"^toy: --set model\.cel: unknown key"):
        points(APP, "default", ["model.cel=1"], 0)


def test_a_log_has_a_name_that_fits_and_stays_in_its_folder() -> None:
    [planned] = plan("new")
    named = Planned(planned.cell.__class__(APP, "default", (), planned.cell.config, "toy a/b " + "c" * 300), "new")
    path = grid._log_path(named)
    assert path.parent.name == "grid" and path.name == f"toy-a_b-{'c' * 192}.log"
