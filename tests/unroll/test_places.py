"""Data, runs and store are in one folder, found by one rule; each has a variable that overrides it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unroll import places, tracking
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.tracking.code import PACKAGE

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("UNROLL_HOME", "UNROLL_DATA", "UNROLL_RUNS", "MLFLOW_TRACKING_URI", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)


def all_of_them() -> tuple[str, ...]:
    folders = (places.data_folder(), places.runs_folder(), places.artifacts_folder())
    return *map(str, folders), places.store_uri()


def test_in_a_checkout_it_is_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert all_of_them() == ("data", "runs", "mlruns", "sqlite:///mlflow.db")
    assert places.told() == f"data, runs and store in {ROOT}"


def test_and_from_a_folder_in_it_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "apps" / "speech")
    assert (places.data_folder().resolve(), places.home().resolve()) == (ROOT / "data", ROOT)
    assert places.shown(places.store_uri()) == f"sqlite:///../../mlflow.db ({ROOT}/mlflow.db)"
    assert places.told() == f"data, runs and store in {ROOT}"


def test_elsewhere_it_is_the_users_folder_for_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for shared in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", shared)
        assert places.home() == tmp_path / "me" / ".local" / "share" / "unroll"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    home = tmp_path / "xdg" / "unroll"
    assert all_of_them() == (*(f"{home}/{name}" for name in ("data", "runs", "mlruns")), f"sqlite:///{home}/mlflow.db")


@pytest.mark.parametrize("current", [ROOT, ROOT / "apps", Path("/")])
def test_what_is_named_wins_anywhere(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(current)
    monkeypatch.setenv("UNROLL_HOME", "/mine")
    assert all_of_them() == ("/mine/data", "/mine/runs", "/mine/mlruns", "sqlite:////mine/mlflow.db")


def test_each_may_be_elsewhere_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_HOME", "/mine")
    monkeypatch.setenv("UNROLL_DATA", "/big/data")
    assert Store().root == Path("/big/data")
    assert places.told() == "runs and store in /mine; data in /big/data"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@it/unroll")
    assert places.told() == "runs in /mine; data in /big/data; store in postgresql://me:***@it/unroll"
    monkeypatch.setenv("UNROLL_RUNS", "/fast/runs")
    assert places.told() == "data in /big/data; runs in /fast/runs; store in postgresql://me:***@it/unroll"
    assert places.runs_folder() == Path("/fast/runs") and places.store_uri().startswith("postgresql")


def test_a_user_without_a_home_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(UserError, match="set UNROLL_HOME to a folder for"):
        places.home()


@pytest.mark.parametrize("name", ["plain", "C# 50%41", "a?b=c&d", "語 é"])
def test_nothing_is_left_in_the_current_folder(
    name: str, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store with its files is at home, also when the current folder is another one."""
    home, here = tmp_path / name, tmp_path / "here"
    monkeypatch.setenv("UNROLL_HOME", str(home))
    for folder in (home, here):
        folder.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    monkeypatch.chdir(here)
    client = tracking.connect()
    id = client.create_run(tracking.experiment(client, "toy")).info.run_id
    client.log_text(id, "text", "note.txt")
    assert list(here.iterdir()) == []
    assert [file.read_text() for file in (home / "mlruns").rglob("note.txt")] == ["text"]


def test_a_home_that_is_not_there_yet_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_HOME", str(tmp_path / "a" / "b"))
    tracking.runs(tracking.connect(), "toy")
    assert (tmp_path / "a" / "b" / "mlflow.db").is_file()


def test_a_copy_that_is_no_checkout_is_none(tmp_path: Path) -> None:
    """As in site-packages, even where that is named like ours."""
    shutil.copytree(PACKAGE, tmp_path / "core" / "unroll", ignore=shutil.ignore_patterns("recurrence", "__pycache__"))
    code = "from unroll import places; print(places.checkout(), places.home())"
    command, env = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(tmp_path / "core")}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", str(tmp_path / "me" / ".local" / "share" / "unroll")]
    (tmp_path / "pyproject.toml").touch()
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path), "."]
