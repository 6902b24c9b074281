"""For all tests: the user's files are not touched, and hypothesis behaves the same everywhere."""

import itertools
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "unroll", derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("unroll")  # the same examples every time, and no test that fails on a busy machine

TOGETHER = (
    "tests/test_package.py", "tests/test_tasks.py", "tests/test_tasks_compare.py", "tests/unroll/test_scaffold.py",
    "tests/docs/test_site.py",
)  # fmt: skip
"""files whose tests share what is dear to make, or go on from each other: they run in one process, in their order"""
PLACE = pytest.StashKey[int]()
"""of a test among all, as they are collected"""
COLLECTED = itertools.count()


def pytest_configure() -> None:
    """Signals mean what they usually do, in the tests and in all that they start.

    A job in the background (nohup, most schedulers) begins deaf to Ctrl-C or to the end of its terminal, and hands that
    on to its children.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests run in one process: those of a file in TOGETHER, and the conformance checks of an application.

    pytest-xdist 3.8 has marks for that, which do nothing under pytest 9.2: it renames tests, and pytest keeps the name.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file == "tests/apps/test_conformance.py":
                return nodeid.rpartition("-")[2]
            if file.startswith("tests/survival/"):  # they share a server of processes
                return "tests/survival"
            return file if file in TOGETHER else nodeid

    return Together(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.stash[PLACE] = next(COLLECTED)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Those of a file in TOGETHER run in their order, whatever has shuffled the others (pytest-randomly)."""
    items = session.items
    for file in TOGETHER:
        places = [place for place, item in enumerate(items) if item.nodeid.partition("::")[0] == file]
        in_order = sorted((items[place] for place in places), key=lambda item: item.stash[PLACE])
        for place, item in zip(places, in_order, strict=True):
            items[place] = item


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, checkpoints and tracking store of a test are its own."""
    monkeypatch.setenv("UNROLL_HOME", ".")  # the current folder, which many tests choose for themselves
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture(autouse=True)
def own_numbers(request: pytest.FixtureRequest) -> None:
    """A test draws the same random numbers wherever and after whatever it runs: what passes once passes always."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """`subprocess.Popen` with pipes of text, for programs that end with the test, whatever becomes of it."""
    import psutil

    started: list[subprocess.Popen[str]] = []

    def start(words: list[str], **options: Any) -> "subprocess.Popen[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(words, **{**pipes, **options}))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
        process.communicate()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with nothing in it. Making its tables takes seconds, copying it does not."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a test's own tracking store, with the test's folder as the place to work in."""
    from unroll import tracking

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tracking.connect()
