"""Runs tasks in separate processes that are killed at an exact point, without any support in the code under test.

The processes are forked from a server that has imported everything and trained once: starting a new one takes ten
seconds.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import psutil
import torch
from invoke import main
from mlflow.tracking import MlflowClient

from unroll import app as apps

ROOT = Path(__file__).parents[2]
COUNTS = "counts.json"
"""how often a process has passed each kind of point, and the seconds that it took"""


class Point(NamedTuple):
    """Where a process is struck, and with what."""

    kind: str
    """a kind of KINDS; "" strikes never, and only counts"""
    number: float = 0
    """at the so many-th time that it comes there; of "moment": seconds after the beginning"""
    signal: int = signal.SIGKILL
    """what it gets there; 0: its clock is set back instead"""


NEVER = Point("")


class Striker:
    """Counts how often each kind of point is passed, and sends the signal at the chosen one."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.counts: Counter[str] = Counter()

    def passes(self, kind: str, before: Callable[[], object] = lambda: None) -> None:
        """A point is passed. `before`: what else is done if it is the one."""
        self.counts[kind] += 1
        if (kind, self.counts[kind]) == self.point[:2]:
            before()
            if self.point.signal:
                os.kill(os.getpid(), self.point.signal)
            else:
                set_clock_back()

    def install(self) -> None:
        """Patch the places that are passed."""
        load = apps.load
        apps.load = lambda name: self._watched(load(name))
        os.fsync = self._fsync(os.fsync)
        Path.replace = self._replace(Path.replace)  # type: ignore[method-assign]
        for name in LINKING:
            setattr(MlflowClient, name, self._linking(getattr(MlflowClient, name)))
        if self.point.kind == "moment":
            strike = threading.Timer(self.point.number, os.kill, (os.getpid(), self.point.signal))
            strike.daemon = True
            strike.start()

    def _watched(self, app: Any) -> Any:
        def step(model: Any, batch: Any, state: Any) -> Any:
            done = app.step(model, batch, state)
            self.passes("step")
            return done

        def passed(batches: Iterable[Any]) -> Iterator[Any]:
            for number, batch in enumerate(batches):
                if number < 2:
                    self.passes("evaluation")
                yield batch

        return replace(app, step=step, evaluate=lambda model, batches: app.evaluate(model, passed(batches)))

    def _fsync(self, flush: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(file: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{file}"))
            if path.name.endswith(".tmp") and ".safetensors." in path.name:
                # Half of it is on the disk.
                self.passes("writing", lambda: os.truncate(path, path.stat().st_size // 2))
            if "prepared" in path.parts:
                self.passes("prepare")
            flush(file)

        return fsync

    def _linking(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def linking(*arguments: Any, **options: Any) -> Any:
            done = call(*arguments, **options)
            self.passes("linking")
            return done

        return linking

    def _replace(self, rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def replace(source: Path, target: Path) -> Path:
            if target.suffix == ".safetensors":
                self.passes("renaming")
            return rename(source, target)

        return replace


TINY = {
    "captioning": ["data.pictures=100", "model.hidden=16"],
    "image": ["data.limit=100"],
    "language": ["train.batch=512", "model.hidden=16"],
    "recommend": ["data.sessions=400", "model.hidden=16"],
    "similarity": ["data.pairs=200"],
    "speech": ["data.utterances=40"],
    "translation": ["data.sentences=200", "data.vocabulary=300"],
    "video": ["data.clips=64"],
}
"""what makes the smoke presets smaller still; another application is trained as its preset has it"""


def set_clock_back() -> None:
    """What the administrator, or the end of summer time on a badly set machine, does to the clock on the wall."""
    now = time.time
    time.time = lambda: now() - 3 * 3600


KINDS = ("step", "writing", "renaming", "evaluation", "linking", "prepare", "moment")
LINKING = ("_create_logged_model", "log_outputs", "log_model_artifacts", "finalize_logged_model")
"""what MLflow does, one after the other, until a model belongs to its run and can be used"""


def places(folder: Path, data: Path) -> dict[str, str]:
    """The environment of a training that has everything in `folder`, but for its data."""
    return {
        "UNROLL_HOME": str(folder), "UNROLL_DATA": str(data), "UNROLL_RUNS": str(folder / "runs"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }  # fmt: skip


def attempt(words: list[str], folder: Path, environment: Mapping[str, str], point: Point) -> None:
    """In a process of its own: `invoke WORDS`, struck at `point`; what it prints goes to a file."""
    os.chdir(folder)
    os.environ.update(environment)
    if (folder / "tmp").exists():
        tempfile.tempdir = str(folder / "tmp")
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    torch.set_num_threads(1)
    striker, began = Striker(point), time.monotonic()
    striker.install()
    sys.argv = ["invoke", "--search-root", str(ROOT), *words]
    try:
        main.program.run(sys.argv)
    finally:
        (folder / COUNTS).write_text(json.dumps({**striker.counts, "seconds": time.monotonic() - began}))


class Server:
    """Starts such processes."""

    def __init__(self) -> None:
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(["tests.survival.warm"])
        # One thread each, from the very beginning: threads do not outlive a fork.
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
            forkserver.ensure_running()

    def run(self, words: str, folder: Path, data: Path, point: Point = NEVER) -> int:
        """The exit code of `invoke WORDS`; minus the signal that ended it."""
        process = self.start(words, folder, data, point)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def start(self, words: str, folder: Path, data: Path, point: Point = NEVER) -> Any:
        """The process of `invoke WORDS`."""
        process = self.context.Process(target=attempt, args=(words.split(), folder, places(folder, data), point))
        process.start()
        return process

    @contextmanager
    def paused(self, words: str, folder: Path, data: Path, kind: str, number: int) -> Iterator[Any]:
        """The process of `invoke WORDS`, stopped at that point; it goes on with SIGCONT, see `ended`."""
        process = self.start(words, folder, data, Point(kind, number, signal.SIGSTOP))
        try:
            while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
                assert process.is_alive(), (folder / "output.txt").read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.join()


def ended(process: Any) -> int:
    """The exit code of a paused process that goes on to its end."""
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    code: int = process.exitcode
    return code
