"""Every number that a cell's step may read from elsewhere than its inputs, and how to change it for a while.

A compiled step has such numbers written into it; whether a change of one is noticed is a law of `check_cell`.
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
    """Where a number stands: its name, its value, and what puts another one there."""

    name: str
    value: Any
    put: Callable[[Any], None]

    @contextmanager
    def changed(self) -> Iterator[None]:
        """Another number stands there within the block: a switch is thrown, a number grows."""
        value = self.value
        self.put(
            not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 1.25 * value + 0.125
        )
        try:
            yield
        finally:
            self.put(value)


def places(cell: Cell) -> Iterator[Place]:
    """The numbers of a cell and its modules, of its class, and those outside that its functions name.

    Also in lists, in dictionaries and in objects that hold such numbers, and in modules of Python that are named.
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
    """Of a list or a dictionary, that of an object's attributes among them."""
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
        fixed = kind.__hash__ not in (None, object.__hash__)  # it says so itself
        yield from () if fixed else _inside(name, vars(value), deeper=False)


def _outside(function: Any) -> Iterator[Place]:
    """Globals, what is named of modules, and enclosing variables."""
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
