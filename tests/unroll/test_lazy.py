"""What is known without waiting for torch: applications, their settings, cells, and what is wrong with a command."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from unroll import app as apps
from unroll.lazy import deferred

HEAVY = ("torch", "lightning", "mlflow", "scipy", "sklearn", "librosa", "nltk", "matplotlib", "pandas", "pyarrow")
LOADED = f"sorted({{name.partition('.')[0] for name in sys.modules}} & set({HEAVY}))"


def loaded_by(code: str) -> str:
    """The heavy libraries that a process has imported when it has run this."""
    words = [sys.executable, "-c", f"import sys\n{code}\nprint({LOADED})"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def stopped(*words: str) -> str:
    """The same for a command that ends with an error."""
    code = f"sys.argv = {['unroll', *words]}\nfrom unroll.__main__ import main\ntry: main()\nexcept SystemExit: pass"
    return loaded_by(code)


@pytest.mark.parametrize("name", apps.names())
def test_an_application_and_its_settings_need_no_heavy_library(name: str) -> None:
    assert loaded_by(f"from unroll.app import load; load({name!r}).config(settings=['model.cell=gru'])") == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ("--list",),
        ("apps",),
        ("train", "--help"),
        ("train", "--app", "speach"),
        ("train", "--app", "speech", "--set", "modl.cell=gru"),
        ("train", "--app", "speech", "--set", "model.cell=gruu"),
        ("train", "--app", "speech", "--set", "model.hidden=many"),
        ("train", "--app", "speech", "--set", "data.path=/nowhere"),
        ("train", "--app", "speech", "--preset", "smok"),
        ("train", "--app", "speech,image", "--set", "train.epochs=1,x"),
        ("prepare", "--app", "speech", "--set", "modl.cell=gru"),
        ("sweep", "--app", "speech", "--set", "modl.cell=gru"),
        ("promote",),
        ("compare",),
        ("predict", "--app", "speech,image"),
    ],
    ids=" ".join,
)
def test_listings_help_and_wrong_commands_need_no_heavy_library(words: tuple[str, ...]) -> None:
    assert stopped(*words) == "[]"


@pytest.mark.parametrize(("command", "needed"), [("predict", {"torch"}), ("compare", {"mlflow", "pandas", "scipy"})])
def test_predicting_and_comparing_import_no_trainer(command: str, needed: set[str]) -> None:
    assert set(ast.literal_eval(loaded_by(f"import unroll.commands.{command}"))) <= needed | {"pyarrow"}


def test_a_stand_in_gives_what_its_module_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "late_package").mkdir()
    (tmp_path / "late_package" / "__init__.py").write_text(
        "from unroll.lazy import deferred\n[late] = deferred(__name__, 'late')\n__all__ = ['TWO']\nTWO = late.two\n"
    )
    (tmp_path / "late_package" / "late.py").write_text("WORD = 'w'\n\n\ndef two(x): return x * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = import_module("late_package")
    assert "late_package.late" not in sys.modules
    assert package.TWO("a") == "aa" and "late_package.late" in sys.modules
    [late] = deferred("late_package", "late")
    assert late.WORD == "w" and late.two is package.late.two
    with pytest.raises(AttributeError, match="three"):
        late.three()
