"""The kernels of a cell: made at its first call, kept with it, rebuilt after a change of what its step reads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.cpu.compiled import CannotCompile
from unroll.recurrence.kernels.graph import ByDesign, CannotFuse
from unroll.recurrence.kernels.reads import Guard, Reads

MOST = 8
"""kernels of a cell whose attributes keep changing: then it stays on the loop"""
Kind = Callable[[Cell, bool, Reads], Any]
_Known = dict[tuple[Any, ...], list[tuple[Guard, Any]]]


class Told(str):
    """Why a cell has no kernel, where that is no matter of course: whoever runs it by default is told."""


class _Kernels(_Known):
    """The kernels of a cell, kept with it and shared by its shadows; see `Cell.__getstate__`."""


def kernels(cell: Cell) -> _Known:
    """All that were made for a cell and its shallow copies so far, each with what must be as it was."""
    known: _Kernels = cell.__dict__.setdefault("_kernels", _Kernels())
    return known


_lock = threading.Lock()


def kernel_of(cell: Cell, kind: Kind, masked: bool = False) -> Any:
    """The cell's kernel, or one line that says why it has none. Made at the first call, which may take a second.

    `kind` makes it: one of the classes that are a `call.Kernel`.
    """
    found: _Known | None = cell.__dict__.get("_kernels")
    known = None if found is None else found.get((kind, masked, type(cell)))
    if known is None:
        known = kernels(cell).setdefault((kind, masked, type(cell)), [])
    for guard, kernel in known:
        if guard.holds(cell):
            return kernel
    with _lock:
        for guard, kernel in known:  # another thread may have made it meanwhile
            if guard.holds(cell):
                return kernel
        if len(known) == MOST:
            changing = ", ".join(known[-1][0].changed(cell))
            return Told(f"{changing} has had more than {MOST} values, each of which is compiled: make it a parameter")
        known.append(_made(cell, masked, kind))
        return known[-1][1]


def _made(cell: Cell, masked: bool, kind: Kind) -> tuple[Guard, Any]:
    """The kernel or why there is none, and what that depends on."""
    reads = Reads()
    try:
        kernel = kind(cell, masked, reads)
    except ByDesign as error:
        kernel = str(error)
    except (CannotFuse, CannotCompile) as error:
        kernel = Told(error)
    guard = reads.guard()
    if not isinstance(kernel, str):
        kernel.guard = guard
    return guard, kernel


_told: set[tuple[type, str]] = set()


def tell(cell: Cell, why: Told) -> None:
    """Once for a class and a reason: its steps run one by one, which nobody asked for."""
    if (type(cell), why) not in _told:
        _told.add((type(cell), why))
        logging.getLogger("unroll.recurrence").warning(
            '%s runs step by step, without a compiled kernel: %s (backend="eager" says that this is meant)',
            type(cell).__name__,
            why,
        )
