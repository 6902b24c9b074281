"""What is public is said: every package names it, and type checkers may read the annotations of an installed Unroll."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import unroll
from unroll import apps

ROOT = Path(unroll.__path__[0])
APPS = Path(apps.__path__[0])


def packages() -> Iterator[str]:
    for name, root in (("unroll", ROOT), ("unroll.apps", APPS)):
        for file in sorted(root.rglob("__init__.py")):
            yield ".".join((name, *file.parent.relative_to(root).parts))


@pytest.mark.parametrize("name", list(packages()))
def test_every_package_says_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list), f"{name} has no __all__"
    assert [public for public in module.__all__ if public.startswith("_") or not hasattr(module, public)] == []


def test_annotations_are_there_for_others() -> None:
    assert (ROOT / "py.typed").is_file()
