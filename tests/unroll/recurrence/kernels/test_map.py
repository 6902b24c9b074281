"""The kernel files: all of them are listed, and there are no circular imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from unroll.recurrence import kernels

FOLDER = Path(kernels.__path__[0])
FILES = [path for path in FOLDER.rglob("*") if path.suffix in (".py", ".c", ".h") and path.name != "__init__.py"]


def imported(path: Path) -> Iterator[str]:
    """The modules of the kernels that a file imports anywhere, for types as well."""
    names = {".".join(file.relative_to(FOLDER).with_suffix("").parts) for file in FILES if file.suffix == ".py"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(kernels.__name__):
            base = (node.module or "").removeprefix(kernels.__name__).strip(".")
            yield from names & {base, *(f"{base}.{one.name}".strip(".") for one in node.names)}


def test_every_file_is_on_the_map() -> None:
    words = (kernels.__doc__ or "").replace(",", " ").replace(":", " ").split()
    assert {path.name for path in FILES} <= set(words)
    assert {word for word in words if word.endswith((".py", ".c", ".h"))} <= {path.name for path in FILES}


def test_no_circle() -> None:
    modules = {".".join(file.relative_to(FOLDER).with_suffix("").parts): set(imported(file)) for file in FILES
               if file.suffix == ".py"}  # fmt: skip
    order = list(TopologicalSorter(modules).static_order())
    assert order.index("graph") < order.index("plan") < order.index("cpu.autograd") < order.index("dispatch")
