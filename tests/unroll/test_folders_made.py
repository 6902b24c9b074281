"""Whatever is written makes the folders above it, and does not mind those that are there."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unroll.training.toy import APP, save_untrained
from unroll import tracking
from unroll.commands.job import JobFolder, check_writable
from unroll.data.arrays import write_arrays
from unroll.data.verified import Verified
from unroll.drawing.page import Page
from unroll.places import runs_folder
from unroll.training.checkpoint import Checkpoints
from unroll.training.health import Health


def checkpoint(folder: Path) -> None:
    Checkpoints(folder).save({"step": 1})


def skipped(folder: Path) -> None:
    health = Health(APP, APP.config(), folder)
    health.problem = "bad"
    health.skip(torch.nn.Linear(1, 1), torch.ones(1), None, 3)


def sums(folder: Path) -> None:
    (file := folder.parents[2] / "file").write_bytes(b"1")
    verified = Verified(folder)
    verified.sha256(file)
    verified.add(file, "a" * 64)
    verified.save()
    assert (folder / "verified.json").is_file()


def picture(folder: Path) -> None:
    write = importlib.import_module("unroll.apps.image.predict")._write

    shape = SimpleNamespace(levels=256)
    asked: Any = SimpleNamespace(shape=shape, asked=SimpleNamespace(invert=False, folder=folder))
    path = write(asked, torch.zeros(4, 4, 1), "a.png")
    with Image.open(path) as written:
        assert written.width >= 4


WRITERS: dict[str, Callable[[Path], None]] = {
    "checkpoint": checkpoint,
    "model": save_untrained,
    "skipped batch": skipped,
    "arrays": lambda folder: write_arrays(folder, {"a": np.zeros(2)}),
    "page": lambda folder: Page("title", "subtitle").write(folder / "page.html"),
    "sums": sums,
    "picture": picture,
}


@pytest.mark.parametrize("what", WRITERS)
def test_folders_are_made_where_they_are_missing(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        WRITERS[what](folder)
        assert any(path.is_file() for path in folder.rglob("*"))


def test_a_run_has_its_folder_in_one_that_is_made_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path / "a" / "b"))
    for _ in range(2):
        check_writable()
        with JobFolder("id").alone():
            assert (runs_folder() / "id").is_dir()


def test_the_store_is_made_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("UNROLL_HOME", str(tmp_path / "a" / "b"))
    for _ in range(2):
        assert tracking.runs(tracking.connect(), "toy") == []
    assert (tmp_path / "a" / "b" / "mlflow.db").is_file()
