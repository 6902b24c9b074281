"""The kernels of a cell: created at its first call, cached with it, rebuilt when something its step reads changes."""

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
"""most kernels of a cell whose attributes keep changing: beyond, it stays on the loop"""
Kind = Callable[[Cell, bool, Reads], Any]
_Known = dict[tuple[Any, ...], list[tuple[Guard, Any]]]


class Told(str):
    """Why a cell unexpectedly has no kernel: this is logged when it runs by default."""


class _Kernels(_Known):
    """The kernels of a cell, cached with it and shared by its shallow copies; see `Cell.__getstate__`."""


def kernels(cell: Cell) -> _Known:
    """All kernels made so far for a cell and its shallow copies, each with its guard."""
    known: _Kernels = cell.__dict__.setdefault("_kernels", _Kernels())
    return known


_lock = threading.Lock()


def kernel_of(cell: Cell, kind: Kind, masked: bool = False) -> Any:
    """The cell's kernel, or one line that says why it has none. Created at the first call, which may take a second.

    `kind` creates it: one of the `call.Kernel` classes.
    """
    found: _Known | None = cell.__dict__.get("_kernels")
    known = None if found is None else found.get((kind, masked, type(cell)))
    if known is None:
        known = kernels(cell).setdefault((kind, masked, type(cell)), [])
    for guard, kernel in known:
        if guard.holds(cell):
            return kernel
    with _lock:
        for guard, kernel in known:  # another thread may have created it meanwhile
            if guard.holds(cell):
                return kernel
        if len(known) == MOST:
            changing = ", ".join(known[-1][0].changed(cell))
            return Told(f"{changing} has had more than {MOST} values, each of which is compiled: make it a parameter")
        known.append(_made(cell, masked, kind))
        return known[-1][1]


def _made(cell: Cell, masked: bool, kind: Kind) -> tuple[Guard, Any]:
    """The kernel or why there is none, and the guard of that result."""
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
    """Logs, once per class and reason, that its steps run one by one although this was not requested."""
    if (type(cell), why) not in _told:
        _told.add((type(cell), why))
        logging.getLogger("unroll.recurrence").warning(
            '%s runs step by step, without a compiled kernel: %s (backend="eager" silences this)',
            type(cell).__name__,
            why,
        )
