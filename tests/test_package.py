"""The built and installed package: one import name, everything it needs and nothing else; the same in a checkout."""

import importlib.metadata
import json
import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.installing import ROOT, Environment, build, environment, everything, succeeded
from unroll.extras import APPS

NAMES = ["captioning", "image", "language", "recommend", "similarity", "speech", "translation", "video"]
BASE = ["numpy", "safetensors", "torch"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with all dependencies, and Unroll in it in either way."""
    made = environment(tmp_path_factory.mktemp(request.param) / "env", everything())
    if request.param == "wheel":
        made.pip("install", "--no-deps", str(request.getfixturevalue("wheel")))
    else:
        made.pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    return made


@pytest.fixture
def other_project(tmp_path: Path) -> Path:
    """A folder that has our names for things of its own."""
    for package in ("core", "apps", "apps/weather"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('of somebody else')\n")
    (tmp_path / "tasks.py").write_text("raise RuntimeError('of somebody else')\n")
    return tmp_path


def content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    there = content(wheel)
    assert {name.split("/")[0] for name in there} == {"unroll", "unroll-0.1.0.dist-info"}
    wanted = {
        f"{place}/{file.relative_to(ROOT / source).as_posix()}": file.read_bytes()
        for source, place in (("core/unroll", "unroll"), ("apps", "unroll/apps"))
        for file in (ROOT / source).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name: text for name, text in there.items() if name.startswith("unroll/")} == wanted
    for kind in ("/py.typed", "/native.c", "/native.h", "/cell.py.txt", "/zero-four-two.flac", "/fsdd.sha256"):
        assert any(name.endswith(kind) for name in there), kind


def test_a_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / wheel.name.removesuffix("-py3-none-any.whl"), tmp_path / "again")
    assert content(again) == content(wheel)


def test_whoever_wants_an_lstm_gets_three_dependencies(wheel: Path) -> None:
    [metadata] = (text.decode() for name, text in content(wheel).items() if name.endswith("/METADATA"))
    required = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)]
    assert sorted(one.name for one in required if "extra" not in str(one.marker)) == BASE


def test_from_a_project_with_folders_of_our_names(installed: Environment, other_project: Path) -> None:
    code = "from unroll import LSTM, app; print(LSTM(2, 3).hidden_size, [app.load(name).name for name in app.names()])"
    assert succeeded([installed.python, "-c", code], cwd=other_project) == f"3 {NAMES}\n"
    listed = installed.unroll(other_project, "--list")
    assert listed.returncode == 0 and "  diagnose " in listed.stdout
    assert installed.unroll(other_project, "new-cell").stderr == "error: --name is missing; see unroll --help TASK\n"
    # A grid: its trainings are processes that find the same package, and the same place.
    grid = installed.result(other_project, "train", "--app", "image", "--preset", "smoke", "--seeds", "1")
    [trained] = grid["runs"]
    assert trained["status"] == "FINISHED" and "test/accuracy" in trained["metrics"]
    home = other_project / "share" / "unroll"
    assert {path.name for path in home.iterdir()} == {"data", "mlflow.db", "mlruns", "runs"}
    assert {path.name for path in other_project.iterdir()} == {"apps", "core", "share", "tasks.py"}


@pytest.mark.parametrize("task", ["test", "lint", "bench", "docs"])
def test_what_works_on_a_checkout_says_so_elsewhere(task: str, installed: Environment, tmp_path: Path) -> None:
    done = installed.unroll(tmp_path, task)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {task}: needs a checkout of Unroll, and this folder is not inside one; ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with what `pip install unroll` brings: the base dependencies, and theirs."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "base").mkdir()
    for path in _files_of(BASE):
        (folder / "base" / path.name).symlink_to(path)
    made = environment(folder / "env", [folder / "base"])
    made.pip("install", "--no-deps", str(wheel))
    return made


def _files_of(names: list[str]) -> Iterator[Path]:
    """The top level of installed distributions, and of all that they need."""
    seen, left = set[str](), list(names)
    tops = set[Path]()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        tops |= {Path(str(found.locate_file(file.parts[0]))) for file in found.files or () if file.parts[0] != ".."}
        needs = [Requirement(line) for line in found.requires or ()]
        left += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    yield from (top for top in tops if top.name != "__pycache__")


USED = """
import json, sys, torch, unroll, unroll.recurrence
lacking, shown = {}, []
for package in (unroll, unroll.recurrence):
    for name in package.__all__:
        try:
            getattr(package, name)
            shown.append(name)
        except ModuleNotFoundError as error:
            lacking[name] = str(error)
for name in ("LSTM", "GRU", "RNN"):
    layer = getattr(unroll, name)(4, 8, num_layers=2)
    output, state = layer(torch.randn(5, 3, 4))
    output.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())
network = unroll.Recurrent("gru", 4, 8)
output, state = network(torch.randn(5, 3, 4))
output.square().sum().backward()
assert all(weight.grad is not None for weight in network.parameters())
print(json.dumps([shown, lacking, sorted(name.partition(".")[0] for name in sys.modules)]))
"""


def test_the_recurrent_layers_need_no_extra(bare: Environment, tmp_path: Path) -> None:
    answer = subprocess.run(
        [bare.python, "-c", USED], cwd=tmp_path, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    shown, lacking, modules = json.loads(answer.stdout)
    assert {"LSTM", "GRU", "RNN", "LSTMCell", "Recurrent", "to_torch", "CELLS", "check_cell"} <= set(shown)
    # filelock and fsspec come with torch.
    assert not (APPS - {"filelock"}) & set(modules)
    assert all("pip install 'unroll[apps]'" in line and "\n" not in line for line in lacking.values())


def test_a_missing_extra_is_one_line(bare: Environment, tmp_path: Path) -> None:
    done = bare.unroll(tmp_path, "train", "--app", "speech")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "error: invoke is not installed; without extras Unroll has only its recurrent layers: "
        "pip install 'unroll[apps]'\n"
    )


def test_in_a_checkout_it_is_the_same_line(bare: Environment, tmp_path: Path) -> None:
    """With `invoke` of its own, as a tool of the user's, and the base dependencies."""
    for path in _files_of(["invoke"]):
        (tmp_path / path.name).symlink_to(path)
    words = [bare.python, "-m", "invoke", "--search-root", str(ROOT)]
    done = subprocess.run(
        [*words, "train", "--app", "speech"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"error: \w+ is not installed; .*: pip install 'unroll\[apps\]'\n", done.stderr), done.stderr


def test_the_extra_is_known_by_what_it_is_imported_as() -> None:
    """Each library of the extra, by its distribution, is in the list that the line goes by."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    modules = importlib.metadata.packages_distributions()
    known = {name.lower() for module in APPS for name in modules[module]}
    assert {Requirement(line).name.lower() for line in extras["apps"]} - known == {"typing-extensions"}  # torch's too
