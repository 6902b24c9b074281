"""Write docs/reference/public.md, what each package says is public: `python docs/public.py`. A test compares them."""

from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "public.md"
APPLICATIONS = """
## unroll.apps

Each application is a package of its name, `unroll.apps.speech`; it offers `APP`, an `unroll.app.App`. What else is in
it is for itself, and for whoever makes an application of it.
"""
HEAD = """# What is public

These names are what programs can rely on: the `__all__` of each package. A name is imported from the package that lists
it, `from unroll.data import Store`; one that is not listed may change its place or its form at any time. Packages
load a name when it is first used: importing one brings nothing heavy. Whatever is not in the first two needs
`pip install 'unroll[apps]'`.

Written by `python docs/public.py` from the code.
"""


def page() -> str:
    """The whole page."""
    root = griffe.load("unroll", search_paths=[str(ROOT / "core")])
    assert isinstance(root, griffe.Module)
    return HEAD + "".join(_section(package) for package in _packages(root) if package.exports) + APPLICATIONS


def _packages(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    inner = [one for one in module.modules.values() if one.is_init_module and not one.is_alias]
    for one in sorted(inner, key=lambda one: (one.name != "recurrence", one.name)):
        yield from _packages(one)


def _section(package: griffe.Module) -> str:
    rows = [f"| `{name}` | {_first_line(package[str(name)])} |" for name in package.exports or []]
    table = ["| name | what it is |", "|---|---|", *rows]
    return "\n".join(["", f"## {package.path}", "", _first_line(package), "", *table, ""])


def _first_line(thing: griffe.Object | griffe.Alias) -> str:
    """The first sentence or line of a docstring."""
    text = thing.docstring.value.strip().partition("\n\n")[0] if thing.docstring else ""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
