"""Runs tests in processes forked from one that has already imported all third-party modules.

Our own modules are imported by each process from the copy of the tree that holds the mutant.
"""

import contextlib
import gc
import importlib
import json
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HEAVY = (
    "numpy", "torch", "torch.nn.utils.parametrize", "torch._dynamo", "lightning.pytorch", "mlflow", "mlflow.pyfunc",
    "mlflow.tracking", "torchdata.stateful_dataloader", "scipy.stats", "scipy.optimize", "sklearn.linear_model",
    "sklearn.datasets", "sklearn.feature_extraction.text", "pandas", "pyarrow.parquet", "matplotlib.pyplot",
    "PIL.Image", "soundfile", "librosa", "jiwer", "sacrebleu", "tokenizers", "babel", "optuna", "pydantic",
    "rich.progress", "safetensors.torch", "invoke.main", "requests",
)  # fmt: skip
"""imported before the first fork, as far as installed"""
MEMORY = 8 << 30
"""bytes that a mutant may ask for"""
PATIENCE = 5
"""seconds by the clock for each one of processor time: a loaded machine changes no verdict, a deadlock still ends"""
CRASHED, LATE = "crashed", "took too long"


def warm_up() -> None:
    """Import what tests need, once."""
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Selected:
    """A pytest plugin: the chosen tests only, in the order in which they were chosen."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.rank = {test: rank for rank, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.rank:
            items[:] = sorted((item for item in items if item.nodeid in self.rank), key=lambda i: self.rank[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


def processor_seconds() -> float:
    """Of this process and of those that it waited for; other than the clock's, the same on a loaded machine."""
    return sum(os.times()[:4])


class Reach:
    """A pytest plugin: which of our functions each test calls, and how long it takes."""

    def __init__(self, root: Path) -> None:
        self.ours = (f"{root}/core/", f"{root}/apps/")
        self.skip = len(str(root)) + 1
        self.codes: set[Any] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.passed: set[str] = set()

    def trace(self, frame: Any, event: str, argument: Any) -> None:
        self.codes.add(frame.f_code)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began, self.codes = processor_seconds(), set()
        for trace in (sys.settrace, threading.settrace):  # what is called in threads, too
            trace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]  # that is how one ends it
            calls = {(code.co_filename[self.skip :], plain(code.co_qualname)) for code in self.codes
                     if code.co_filename.startswith(self.ours)}  # fmt: skip
            self.tests[item.nodeid] = {"seconds": processor_seconds() - began, "calls": sorted(calls)}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)
        elif report.failed:
            self.passed.discard(report.nodeid)

    def found(self) -> dict[str, Any]:
        return {test: told for test, told in self.tests.items() if test in self.passed}


def plain(qualified: str) -> str:
    """A qualified name without what only the interpreter adds: lambdas and comprehensions belong to their function."""
    return ".".join(part for part in qualified.split(".") if not part.startswith("<"))


def reach_of(root: Path, file: str, limit: float, folder: Path) -> dict[str, Any]:
    """The tests of a file that pass, each with its seconds and the functions that it calls."""

    def work() -> Any:
        reach = Reach(root)
        run_pytest(root, [file], [reach])
        return reach.found()

    result = in_child(work, root, limit, folder)
    return result if isinstance(result, dict) else {}


def verdict(root: Path, tests: Sequence[str], limit: float, folder: Path) -> str | None:
    """The first test that fails; how the process ended where it did not end by itself; None if all tests pass."""

    def work() -> Any:
        selected = Selected(tests)
        code = run_pytest(root, sorted({test.split("::")[0] for test in tests}), [selected], "-x")
        return [int(code), selected.failed]

    result = in_child(work, root, limit, folder)
    if not isinstance(result, list):
        return result
    code, failed = result
    unnoticed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)  # the latter looked at nothing
    return None if code in unnoticed else failed or f"pytest ended with {code}"


def run_pytest(root: Path, files: Sequence[str], plugins: Sequence[object], *more: str) -> int:
    # Plugins are imported already, by what imports them itself.
    options = ["-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", f"--rootdir={root}"]
    return int(pytest.main([*options, "--no-header", "--tb=line", *more, *files], plugins=list(plugins)))


def in_child(work: Callable[[], Any], root: Path, limit: float, folder: Path) -> Any:
    """What `work` returns in a process of its own, within so many seconds of processor time; CRASHED or LATE if not."""
    answer, output = folder / "answer.json", folder / "output.txt"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            prepare(root, folder, output, math.ceil(limit))
            try:
                answer.write_text(json.dumps(work()))
            except BaseException:
                traceback.print_exc()
        os._exit(0)
    status = waited(child, PATIENCE * limit)
    with contextlib.suppress(ProcessLookupError):  # what the tests left behind
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return LATE
    return json.loads(answer.read_text()) if answer.exists() else CRASHED


def waited(child: int, limit: float) -> int | None:
    """How the process ended; None if it has not within so many seconds by the clock."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    return None


def prepare(root: Path, folder: Path, output: Path, seconds: int) -> None:
    """The process becomes one that was started in the copy: paths, output, home, limits."""
    os.setsid()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    os.environ.update(HOME=str(home), TMPDIR=str(folder), PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")
    os.chdir(root)
    elsewhere = [path for path in sys.path if path and not (Path(path) / "unroll" / "recurrence").exists()]
    sys.path[:] = [str(root), *elsewhere]
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
