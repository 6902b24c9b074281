"""The public API is declared: every package names it, a page lists it, and type checkers can read our annotations."""

import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import unroll
from unroll import apps
from unroll.lazy import lazily

ROOT = Path(unroll.__path__[0])
APPS = Path(apps.__path__[0])
DOCS = Path(__file__).parents[2] / "docs"
LAZY = ["", ".comparison", ".data", ".diagnosis", ".search", ".sequence", ".tracking", ".training"]


def packages() -> Iterator[str]:
    for name, root in (("unroll", ROOT), ("unroll.apps", APPS)):
        for file in sorted(root.rglob("__init__.py")):
            yield ".".join((name, *file.parent.relative_to(root).parts))


@pytest.mark.parametrize("name", list(packages()))
def test_every_package_says_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list), f"{name} has no __all__"
    assert [public for public in module.__all__ if public.startswith("_") or not hasattr(module, public)] == []


@pytest.mark.parametrize("name", LAZY)
def test_a_name_is_one_thing_whatever_was_imported_before(name: str) -> None:
    """A package's submodule takes the place of whatever has its name as soon as anybody imports it."""
    module = importlib.import_module(f"unroll{name}")
    assert dir(module) == sorted(module.__all__)
    assert not {inner.name for inner in pkgutil.iter_modules(module.__path__)} & set(module.__all__)
    with pytest.raises(AttributeError, match=rf"module 'unroll{name}' has no attribute 'nothing'"):
        _ = module.nothing


def test_a_package_brings_nothing_heavy_before_it_is_used() -> None:
    heavy = "[name for name in ('torch', 'numpy', 'mlflow', 'lightning', 'pandas', 'scipy') if name in sys.modules]"
    code = f"import sys, {', '.join(f'unroll{name}' for name in LAZY)}; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_public_module_is_there_before_anything_has_imported_it() -> None:
    code = "import unroll.recurrence; print(unroll.recurrence.state.__name__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "unroll.recurrence.state\n"


def test_what_a_missing_library_stops_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "unroll.search.sweep", raising=False)
    monkeypatch.delattr("unroll.search.sweep", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    load, _ = lazily("unroll.search", {"sweep": ("study",)})
    with pytest.raises(
        ModuleNotFoundError, match=r"^unroll\.search\.study: optuna is not .* pip install 'unroll\[apps\]'$"
    ):
        load("study")
    monkeypatch.setitem(sys.modules, "unroll.search.nowhere", None)
    load, _ = lazily("unroll.search", {"nowhere": ("thing",)})
    with pytest.raises(ModuleNotFoundError, match="nowhere"):  # a defect of ours stays what it is
        load("thing")


def test_the_page_is_what_the_code_says() -> None:
    page = (DOCS / "reference" / "public.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(DOCS / "public.py"))["page"](), "write it again: python docs/public.py"
    listed: dict[str, list[str]] = {}
    for section in page.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
        assert all(what for _, what in rows), section
        listed[section.splitlines()[0]] = [name for name, _ in rows]
    said = {name: importlib.import_module(name).__all__ for name in packages()}
    ours = {name: public for name, public in said.items() if public and not name.startswith("unroll.apps.")}
    assert listed == ours | {"unroll.apps": []}
    assert all(public == ["APP"] for name, public in said.items() if re.fullmatch(r"unroll\.apps\.\w+", name))


def test_annotations_are_there_for_others() -> None:
    assert (ROOT / "py.typed").is_file()
