"""Vanishing data, a jumping clock, and concurrent processes: at most one line, and bitwise the same results."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.survival.conftest import command, prepare, said
from tests.survival.driver import Point, Server, ended
from tests.survival.remains import Remains, statuses
from unroll import app as apps

APP = "image"
LARGER = "language"
"""its data are many pages, all of which are read"""
TOGETHER = 8
CROWD = 50


def cut(data: Path) -> Path:
    """Take the second half of the largest prepared file away."""
    path = max((path for path in data.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return path


@pytest.fixture
def copied(whole: Callable[[str], Remains], tmp_path: Path) -> Path:
    """A copy of the prepared data, to be spoilt."""
    return Path(shutil.copytree(whole(APP).data, tmp_path / "copied"))


def test_data_that_vanished_before_the_training_are_prepared_anew(
    server: Server, whole: Callable[[str], Remains], copied: Path, place: Callable[[str], Path]
) -> None:
    folder = place("run")
    shutil.rmtree(copied)
    assert server.run(command(APP), folder, copied) == 0
    Remains.of(folder, copied).assert_same(whole(APP))


def test_data_that_were_cut_off_before_the_training(
    server: Server, whole: Callable[[str], Remains], copied: Path, place: Callable[[str], Path]
) -> None:
    folder, path = place("run"), cut(copied)
    assert server.run(command(APP), folder, copied) == 1
    assert re.search(
        rf"{path}: has [0-9,]+ bytes instead of [0-9,]+; run: invoke prepare --app {APP} --force", said(folder)
    )
    assert not statuses(folder)
    assert server.run(f"{prepare(APP)} --force", folder, copied) == 0
    assert server.run(command(APP), folder, copied) == 0
    Remains.of(folder, copied).assert_same(whole(APP))


def test_data_that_vanish_in_the_training_are_still_read(
    server: Server, whole: Callable[[str], Remains], copied: Path, place: Callable[[str], Path]
) -> None:
    """They are mapped: the kernel keeps them for who has them open."""
    folder = place("run")
    with server.paused(command(APP), folder, copied, "step", 2) as process:
        shutil.rmtree(copied)
        assert ended(process) == 0
    Remains.of(folder, copied).assert_same(whole(APP))


def test_data_that_are_cut_off_in_the_training(
    server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, copied = place("run"), Path(shutil.copytree(whole(LARGER).data, tmp_path / "copied"))
    with server.paused(command(LARGER), folder, copied, "step", 2) as process:
        path = cut(copied)
        assert ended(process) == 1
    assert f"{path}: was cut off while it was read; run: invoke prepare --app {LARGER} --force" in said(folder)
    assert server.run(f"{prepare(LARGER)} --force", folder, copied) == 0
    assert server.run(f"train --app {LARGER} --resume latest", folder, copied) == 0
    Remains.of(folder, copied).assert_same(whole(LARGER))


def test_a_clock_that_is_set_back(
    server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path]
) -> None:
    """Three hours, in the middle of the training: times are measured by another clock."""
    folder, wanted = place("run"), whole(APP)
    assert server.run(command(APP), folder, wanted.data, Point("evaluation", 3, signal=0)) == 0
    found = Remains.of(folder, wanted.data)
    found.assert_same(wanted)
    assert 0 <= found.duration < 600
    for name in ("seconds", "train/total_seconds", "train/total_per_second", "train/data_wait"):
        assert all(value >= 0 for _, value in found.metrics[name]), name


def test_two_trainings_of_one_run(
    server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path]
) -> None:
    folder, wanted = place("run"), whole(APP)
    with server.paused(command(APP), folder, wanted.data, "step", 2) as process:
        [run] = statuses(folder)
        assert server.run(f"train --app {APP} --resume {run}", folder, wanted.data) == 1
        assert said(folder) == f"error: run {run[:8]}: another process is training it"
        assert statuses(folder) == {run: "RUNNING"}
        assert ended(process) == 0
    Remains.of(folder, wanted.data).assert_same(wanted)


@pytest.mark.parametrize(
    "app", [APP, *(pytest.param(name, marks=pytest.mark.slow) for name in apps.names() if name != APP)]
)
def test_eight_who_prepare_the_same_data(
    app: str, server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path], tmp_path: Path
) -> None:
    folders, data = [place(str(i)) for i in range(TOGETHER)], tmp_path / "data"
    processes = [server.start(prepare(app), folder, data) for folder in folders]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * TOGETHER
    assert content(data) == content(whole(app).data)


def content(data: Path) -> dict[str, bytes]:
    """Every prepared file but the manifests, which tell the time; nothing else may lie there."""
    return {
        str(path.relative_to(data)): path.read_bytes() if path.name != "manifest.json" else b""
        for path in (data / "prepared").rglob("*") if path.is_file()
    }  # fmt: skip


@pytest.mark.slow
def test_fifty_runs_at_once_lose_no_metric(
    server: Server, whole: Callable[[str], Remains], place: Callable[[str], Path]
) -> None:
    """In one SQLite store: every metric of every step of every run is there, once."""
    folder, wanted = place("run"), whole(APP)
    processes = [server.start(command(APP), folder, wanted.data) for _ in range(CROWD)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * CROWD, (folder / "output.txt").read_text()
    runs = Remains.all(folder, wanted.data)
    assert len(runs) == CROWD
    for run in runs:
        run.assert_same(wanted)
