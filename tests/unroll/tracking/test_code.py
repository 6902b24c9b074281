"""The digest of the code changes with everything that a training runs, wherever it is, and with nothing else."""

import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from unroll.tracking import code


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A checkout of which a file is written, to get the digest after that of an application in it."""
    monkeypatch.setattr(code, "PACKAGE", tmp_path / "core/unroll")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    found = [
        EntryPoint("power", "strange_power:APP", "unroll.apps"),
        EntryPoint("one", "company.one.app:APP", "unroll.apps"),
    ]
    found.append(EntryPoint("file", "strange_file:APP", "unroll.apps"))
    monkeypatch.setattr(code, "entry_points", lambda group: found)
    for name in ("core/unroll/a.py", "elsewhere/strange_power/__init__.py", "elsewhere/company/one/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "elsewhere/company/one/app.py").write_text("1")
    (tmp_path / "elsewhere/strange_file.py").write_text("1")

    def written(app: str, name: str, text: str = "2") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return code.code_digest(app)

    yield written
    for name in ("strange_power", "company", "company.one", "strange_file"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("power", "core/unroll/a.py"),
        ("power", "core/unroll/recurrence/kernels/cpu/native.c"),
        ("power", "core/unroll/recurrence/kernels/cpu/native.h"),
        ("power", "core/unroll/recurrence/kernels/cpu/tiles.h"),
        ("power", "elsewhere/strange_power/model.py"),
        ("power", "elsewhere/strange_power/sources/words.json"),
        ("one", "elsewhere/company/one/model.py"),
        ("file", "elsewhere/strange_file.py"),
    ],
)
def test_what_a_training_runs_is_in_it(place, app: str, name: str) -> None:
    before = code.code_digest(app)
    after = place(app, name)
    assert before != after != place(app, name, "33")
    assert place(app, name) == after


@pytest.mark.parametrize(
    "name",
    [
        "docs/d.md",
        "core/unroll/README.md",
        "core/unroll/scaffold/templates/classify/train.py.txt",
        "core/unroll/__pycache__/a.json",
        "elsewhere/strange_power/README.md",
        "elsewhere/strange_power/tests/test_power.py",
        "elsewhere/company/two/model.py",
        "elsewhere/strange_file.py",
        "apps/speech/model.py",
    ],
)
def test_what_it_does_not_run_is_not(place, name: str) -> None:
    before = code.code_digest("power")
    assert place("power", name) == before


def test_the_applications_of_a_checkout_are_found_where_they_are() -> None:
    [folder] = code._places("speech")
    assert folder == code.PACKAGE.parents[1] / "apps/speech"
    assert {"train.py", "fsdd.sha256"} <= {path.name for path in code._files(folder)}
    kernels = {path.name for path in code._files(code.PACKAGE)}
    assert {"native.c", "native.h", "tiles.h", "lstm.py"} <= kernels


def test_a_file_is_read_again_only_when_it_has_changed(place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = code.code_digest("power")
    monkeypatch.setattr(code, "sha256", lambda path: pytest.fail(f"{path} was read again"))
    assert code.code_digest("power") == first


def test_device_and_machine_are_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code.device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert code.device("auto") == code.device("gpu") == "cuda: NVIDIA H200" and code.device("cpu") == "cpu"
    assert f"{os.cpu_count()} cores" in code.machine()
