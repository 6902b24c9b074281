"""What `invoke new-app` and `new-cell` write works as it is: linted, installed, trained, and checked."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.installing import Environment, build, environment, everything
from unroll import app as apps
from unroll import scaffold
from unroll.conformance import check_app
from unroll.errors import UserError
from unroll.recurrence import CELLS

ROOT = Path(__file__).parent.parent.parent


def declare(package: Path, group: str, entry: str) -> None:
    """What pip would write to declare an entry point, without pip."""
    info = package / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_every_kind_keeps_the_contract_as_it_is(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"fresh_{kind}"
    scaffold.new_app(name, kind, tmp_path / "package")
    declare(tmp_path / "package", "unroll.apps", f"{name} = unroll_{name}:APP")
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    check_app(name, tmp_path / "work")


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_every_kind_is_short_clean_and_tests_itself(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"clean_{kind}"
    scaffold.new_app(name, kind, tmp_path)
    package = tmp_path / f"unroll_{name}"
    assert sum(len(file.read_text().splitlines()) for file in package.glob("*.py")) < 240
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(package)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    declare(tmp_path, "unroll.apps", f"{name} = unroll_{name}:APP")
    tests = [sys.executable, "-m", "pytest", "-q", str(tmp_path / "tests" / f"test_{name}.py")]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        tests, env={**os.environ, "PYTHONPATH": paths}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_all_that_is_written_is_typed(tmp_path: Path) -> None:
    for kind in scaffold.KINDS:
        scaffold.new_app(f"typed_{kind}", kind, tmp_path / kind)
    scaffold.new_cell("typed_cell", tmp_path / "cell")
    written = [str(folder) for folder in sorted(tmp_path.glob("*/*")) if folder.is_dir()]
    assert len(written) == 2 * (len(scaffold.KINDS) + 1)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *written],
        env={**os.environ, "MYPYPATH": os.pathsep.join(map(str, tmp_path.iterdir()))},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_in_a_checkout_an_application_is_one_new_folder_and_its_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaffold, "checkout", lambda: tmp_path)
    files = {str(file.relative_to(tmp_path)) for file in scaffold.new_app("weather", "tag")}
    code = {f"apps/weather/{part}.py" for part in ("__init__", "config", "data", "model", "train")}
    assert files == {*code, "apps/weather/README.md", "tests/apps/weather/test_weather.py"}
    with pytest.raises(UserError, match=r"apps/weather/.*: already exists; choose another name or folder"):
        scaffold.new_app("weather", "classify")


def test_a_new_cell_is_found_by_its_name_and_obeys_every_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaffold, "checkout", lambda: tmp_path)
    code, test = scaffold.new_cell("leaky_fresh")
    monkeypatch.setattr("unroll.recurrence.contributed.__path__", [str(code.parent)])
    assert "leaky_fresh" in CELLS
    assert CELLS["leaky_fresh"].__name__ == "LeakyFreshCell"  # type: ignore[attr-defined]
    space: dict[str, object] = {}
    exec(test.read_text(), space)
    for name, check in space.items():
        if name.startswith("test_"):
            check()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("speech", "tag", "--name speech: an application of that name already exists"),
        ("Weather", "tag", "--name Weather: use lower-case letters, digits and underscores"),
        ("../up", "tag", "use lower-case letters"),
        ("class", "tag", "use lower-case letters"),
        ("weather", "tagg", r"--kind tagg: no such kind; did you mean tag\?"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        scaffold.new_app(name, kind, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_installed_unroll_asks_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaffold, "checkout", lambda: None)
    with pytest.raises(UserError, match="--path is missing"):
        scaffold.new_cell("leaky_fresh")
    with pytest.raises(UserError, match="a cell of that name already exists"):
        scaffold.new_cell("gru", tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    made = environment(folder / "env", everything())
    made.pip("install", "--no-deps", str(build("wheel", ROOT, folder)))
    return made


def test_a_package_of_ones_own_in_a_fresh_environment(installed: Environment, tmp_path: Path) -> None:
    """Outside the repository: made, installed by pip, trained, evaluated, compared and diagnosed."""
    installed.result(tmp_path, "new-app", "--name", "stranger", "--kind", "classify", "--path", "stranger")
    installed.pip("install", "--no-deps", "--no-build-isolation", "-e", str(tmp_path / "stranger"))

    def invoke(task: str, *words: str) -> dict[str, Any]:
        return installed.result(tmp_path, task, "--app", "stranger", *words)

    trained = invoke("train", "--preset", "smoke")
    assert invoke("evaluate")["metrics"] == trained["metrics"]
    assert invoke("compare")["metric"] == "test/accuracy"
    assert "verdict" in invoke("diagnose", "--run", "latest")
    assert "stranger" not in apps.names()  # of this environment
