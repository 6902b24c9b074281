"""The process server, and one undisturbed training per application."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.survival.driver import TINY, Server
from tests.survival.remains import Remains


@pytest.fixture(scope="session")
def server() -> Server:
    return Server()


@pytest.fixture
def place(empty_store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """New folders, each with a tracking store."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(empty_store, folder / "mlflow.db")
        return folder

    return make


@pytest.fixture(scope="session")
def whole(server: Server, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Remains]:
    """What an undisturbed training of an application leaves; trained once."""
    known: dict[str, Remains] = {}

    def trained(app: str) -> Remains:
        if app not in known:
            folder = tmp_path_factory.mktemp(app)
            shutil.copy(empty_store, folder / "mlflow.db")
            assert server.run(command(app), folder, folder / "data") == 0, (folder / "output.txt").read_text()
            known[app] = Remains.of(folder, folder / "data")
        return known[app]

    return trained


def command(app: str) -> str:
    """The training of an application that is used here."""
    return f"train --app {app} --preset smoke --set train.epochs=2 {tiny(app)}"


def prepare(app: str) -> str:
    """The preparation of its data."""
    return f"prepare --app {app} --preset smoke {tiny(app)}"


def tiny(app: str) -> str:
    """The options that make it small."""
    return " ".join(f"--set {one}" for one in TINY.get(app, []))


def chance(*names: str) -> random.Random:
    """Random numbers that are the same in every session."""
    return random.Random(" ".join(names))


def said(folder: Path) -> str:
    """The one line of the last command that went wrong."""
    text = (folder / "output.txt").read_text()
    assert "Traceback" not in text, text
    [line] = [line for line in text.splitlines() if line.startswith("error: ")]
    return line
