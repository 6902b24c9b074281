"""Cells by name: built in, in `contributed/`, or declared by an installed package. No cell registers itself."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll.recurrence import contributed

if TYPE_CHECKING:  # the names are listed without waiting for torch
    from unroll.recurrence.cell import Cell

CellFactory = Callable[..., "Cell"]
GROUP = "unroll.cells"


class Cells(Mapping[str, CellFactory]):
    """name -> class of every built-in cell, every file in `contributed/` and every entry point "unroll.cells".

    Each is imported on demand, so that a broken one cannot break another. Of equal names the first wins.
    """

    def __init__(self, builtin: Mapping[str, tuple[str, str]]) -> None:
        self._builtin = dict(builtin)

    def __getitem__(self, name: str) -> CellFactory:
        factory: CellFactory
        if name in self._builtin:
            module, kind = self._builtin[name]
            factory = getattr(importlib.import_module(f"unroll.recurrence.{module}"), kind)
        elif name in self._contributed():
            factory = importlib.import_module(f"{contributed.__name__}.{name}").CELL
        else:
            factory = self._declared()[name].load()
        return factory

    def __contains__(self, name: object) -> bool:
        """Whether there is such a cell; imports none."""
        return name in self._builtin or name in self._contributed() or name in self._declared()

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._builtin, *sorted(self._contributed()), *sorted(self._declared())])

    def __len__(self) -> int:
        return len(self._builtin.keys() | self._contributed() | self._declared().keys())

    def summary(self, name: str) -> str:
        """The first line of a cell's docstring; of our own it is read from the source, without waiting for torch."""
        text = _docstring(*self._builtin[name]) if name in self._builtin else self[name].__doc__
        return (text or "").strip().partition("\n")[0]

    def _contributed(self) -> set[str]:
        return {module.name for module in pkgutil.iter_modules(contributed.__path__)}

    def _declared(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}


BUILTIN: Mapping[str, tuple[str, str]] = {
    "elman": ("cells.elman", "ElmanCell"),
    "lstm": ("cells.lstm", "LSTMCell"),
    "gru": ("cells.gru", "GRUCell"),
    "layernorm-lstm": ("cells.lstm", "LayerNormLSTMCell"),
    "layernorm-gru": ("cells.gru", "LayerNormGRUCell"),
    "mgu": ("cells.minimal", "MGUCell"),
    "ligru": ("cells.minimal", "LiGRUCell"),
    "indrnn": ("cells.elman", "IndRNNCell"),
    "slstm": ("cells.slstm", "SLSTMCell"),
    "cornn": ("cells.cornn", "CoRNNCell"),
    "mingru": ("scan", "MinGRUCell"),
    "minlstm": ("scan", "MinLSTMCell"),
    "rglru": ("scan", "RGLRUCell"),
    "convlstm": ("conv", "ConvLSTMCell"),
    "convgru": ("conv", "ConvGRUCell"),
}
"""name -> module and class of the built-in cells"""
CELLS = Cells(BUILTIN)
"""all cells by name: built-in, contributed, and from installed packages"""


def _docstring(module: str, kind: str) -> str | None:
    path = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return next(ast.get_docstring(node) for node in classes if node.name == kind)


def make_cell(cell: str | CellFactory, input_size: int, hidden_size: int, **options: Any) -> Cell:
    """A cell by name, by class, or by any function (input_size, hidden_size, **options) -> Cell.

    Raises:
        ValueError: an unknown name; the message names the nearest known ones.
        TypeError: an option that the cell does not have, or a factory that does not return a Cell.
    """
    if isinstance(cell, str) and cell not in CELLS:
        near = difflib.get_close_matches(cell, list(CELLS), n=3, cutoff=0.5)
        raise ValueError(f"cell {cell!r} is unknown; {'nearest' if near else 'known'}: {', '.join(near or CELLS)}")
    from unroll.recurrence.cell import Cell

    factory = CELLS[cell] if isinstance(cell, str) else cell
    made = factory(input_size, hidden_size, **options)
    if not isinstance(made, Cell):
        raise TypeError(f"cell must be a name or make a Cell, got {type(made).__name__}")
    return made
