"""Finds every number that a cell's step may read besides its inputs, and changes it temporarily.

A compiled step has these numbers built in; a law of `check_cell` demands that a change to one is noticed.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.reads import codes, settled

_MACHINERY = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Place:
    """A number that can be changed: its name, its value, and its setter."""

    name: str
    value: Any
    put: Callable[[Any], None]

    @contextmanager
    def changed(self) -> Iterator[None]:
        """Changes it within the block: a bool is flipped, a number is increased."""
        value = self.value
        self.put(
            not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 1.25 * value + 0.125
        )
        try:
            yield
        finally:
            self.put(value)


def places(cell: Cell) -> Iterator[Place]:
    """The numbers in a cell, its modules and its class, and those outside that its functions refer to.

    Includes numbers in lists, dictionaries and objects, and in the Python modules that are referred to.
    """
    for path, module in cell.named_modules():
        yield from _inside(f"{path}." if path else "", vars(module))
    own = type(cell).__mro__[: type(cell).__mro__.index(Cell)]
    for kind in own:
        yield from (Place(name, value, partial(setattr, kind, name)) for name, value in _numbers(vars(kind).items()))
        for member in vars(kind).values():
            yield from _outside(member.fget if isinstance(member, property) else member)


def _numbers(items: Any) -> Iterator[tuple[Any, Any]]:
    return ((key, value) for key, value in items if isinstance(value, int | float) and math.isfinite(value))


def _inside(name: str, holder: Any, deeper: bool = True) -> Iterator[Place]:
    """The numbers in a list or a dictionary, which may be an object's `__dict__`."""
    items = [*(holder.items() if isinstance(holder, dict) else enumerate(holder))]
    for key, value in _numbers(items):
        yield Place(f"{name}{key}", value, partial(holder.__setitem__, key))
    for key, value in items if deeper else ():
        if key not in _MACHINERY:
            yield from _held(f"{name}{key}.", value)


def _held(name: str, value: Any) -> Iterator[Place]:
    if isinstance(value, list | dict):
        yield from _inside(name, value)
    elif hasattr(value, "__dict__") and not isinstance(value, Tensor | nn.Module | type | FunctionType | ModuleType):
        kind: Any = type(value)
        fixed = kind.__hash__ not in (None, object.__hash__)  # a hash of its own declares it immutable
        yield from () if fixed else _inside(name, vars(value), deeper=False)


def _outside(function: Any) -> Iterator[Place]:
    """The numbers in globals, in attributes of modules, and in enclosing variables."""
    if not isinstance(function, FunctionType) or settled(function.__module__ or ""):
        return
    for code in codes(function.__code__):
        for name in {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType) and not _library(value):
                named = {key: one for key, one in vars(value).items() if key in code.co_names}
                yield from (
                    Place(f"{name}.{key}", one, partial(setattr, value, key)) for key, one in _numbers(named.items())
                )
            elif isinstance(value, int | float):
                yield Place(name, value, partial(function.__globals__.__setitem__, name))
            else:
                yield from _held(f"{name}.", value)
    for name, variable in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if isinstance(value := variable.cell_contents, int | float):
            yield Place(name, value, partial(setattr, variable, "cell_contents"))
        else:
            yield from _held(f"{name}.", value)


def _library(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] in (torch.__name__, "math", "numpy", "unroll")
