"""What a step reads besides its inputs, state and weights: a kernel is valid only as long as none of that changes.

A traced step has its options, rates and functions baked in. So every attribute that it reads from its cell and the
cell's modules is recorded, and every global and enclosing variable of the functions that it uses; `Guard.holds` checks
them again before the kernel is used. If one cannot be compared, the cell stays on the loop.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property, partial
from operator import attrgetter, is_
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence.kernels.graph import CannotFuse

_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)
_ATOMS = (
    type(None), bool, int, float, complex, str, bytes, type, ModuleType, Enum, *_FUNCTIONS,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MACHINERY = frozenset(vars(nn.Module())) - {*_HOOKS, "training", "_modules", "_parameters", "_buffers"}


class _Differs(Exception):  # noqa: N818
    """A value that cannot be compared."""


def frozen(value: Any) -> Any:
    """A key that equals another one if and only if the values are the same for a step.

    Raises:
        _Differs: the value may change in place.
    """
    kind: Any = type(value)
    if isinstance(value, float):
        return kind, value.hex()  # 0 and -0 differ, NaN equals itself
    if isinstance(value, _ATOMS):
        return kind, value
    if isinstance(value, tuple | list):
        return kind, tuple(map(frozen, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(frozen, value))
    if isinstance(value, dict):
        return kind, tuple((frozen(key), frozen(one)) for key, one in value.items())
    if isinstance(value, partial):
        return kind, tuple(map(frozen, (value.func, value.args, value.keywords)))
    if isinstance(value, MethodType) and isinstance(value.__self__, type | ModuleType):
        return kind, value
    by_value = kind.__hash__ not in (None, object.__hash__) and kind.__eq__ is not object.__eq__
    if by_value and not isinstance(value, Tensor | nn.Module):
        return kind, value
    raise _Differs


def _fixed(value: Any) -> bool:
    """Whether a comparable value can only be replaced, not changed in place."""
    if isinstance(value, tuple | frozenset):
        return all(map(_fixed, value))
    return not isinstance(value, list | set | dict | partial)


def _parts(value: Any) -> tuple[Any, ...] | None:
    """A value's parts, if it is unchanged as long as they are: a fast way to compare mutable values."""
    parts = (value,)
    if type(value) in (list, dict):
        parts = tuple(value) if isinstance(value, list) else (*value, *value.values())
    return parts if all(map(_fixed, parts)) else None


def _shape(weight: Tensor | None) -> Any:
    return None if weight is None else weight.shape


class _Look:
    """One thing to check: where it is, and what it was."""

    def __init__(self, name: str, get: Callable[[Any], Any], value: Any) -> None:
        self.name, self.get, self.value = name, get, value
        self.kept, self.fixed, self.parts = frozen(value), _fixed(value), _parts(value)

    def same(self, cell: Any) -> bool:
        """Whether it is unchanged."""
        try:
            now = self.get(cell)
            if now is self.value and self.parts is not None:
                parts = self.parts if self.fixed else _parts(now)
                if parts is self.parts or (
                    parts is not None and len(parts) == len(self.parts) and all(map(is_, parts, self.parts))
                ):
                    return True
            if frozen(now) != self.kept:
                return False
        except (_Differs, AttributeError, KeyError, ValueError):
            return False
        self.value, self.parts = now, _parts(now)
        return True


class Guard:
    """Everything that a traced step has read."""

    def __init__(self, looks: list[_Look], weights: list[tuple[str, str, Any]]) -> None:
        """`weights`: (path of the module, name, shape or None)."""
        attributes = [look for look in looks if isinstance(look.get, attrgetter) and look.fixed]
        self._looks, self._others = attributes, [look for look in looks if look not in attributes]
        names = [look.name for look in attributes]
        self._all: Callable[[Any], tuple[Any, ...]] = attrgetter(*names, "__class__", "__class__")  # always a tuple
        self._values = tuple(look.value for look in attributes)
        self._weights = [(name, shape) for path, name, shape in weights if not path]
        self._deeper = [(path[:-1], name, shape) for path, name, shape in weights if path]

    def holds(self, cell: Any) -> bool:
        """Whether tracing the step would give the same result."""
        try:
            now = self._all(cell)
            if not all(map(is_, now, self._values)):
                if not all(look.same(cell) for look in self._looks):
                    return False
                self._values = now
            weights = cell._parameters
            for name, shape in self._weights:
                weight = weights.get(name)
                if (None if weight is None else weight.shape) != shape:
                    return False
            for path, name, shape in self._deeper:
                if _shape(cell.get_submodule(path)._parameters.get(name)) != shape:
                    return False
        except AttributeError:
            return False
        return not self._others or all(look.same(cell) for look in self._others)

    def changed(self, cell: Any) -> list[str]:
        """The names of what has changed."""
        return [look.name for look in (*self._looks, *self._others) if not look.same(cell)]


class Reads:
    """Records what is read from watched modules while a step is traced."""

    def __init__(self) -> None:
        self._looks: dict[Any, _Look] = {}
        self._weights: dict[tuple[str, str], Any] = {}
        self._seen: set[CodeType] = set()

    def forget(self) -> None:
        """Clears everything, after a failed trace, before tracing less of the cell."""
        self._looks, self._weights, self._seen = {}, {}, set()

    def guard(self) -> Guard:
        """The guard for everything recorded."""
        return Guard(list(self._looks.values()), [(*key, shape) for key, shape in self._weights.items()])

    def watch(self, twin: Any, path: str) -> None:
        """Records from now on what is read from a copy of the module at a path, as "norm."; writing is not allowed."""
        kind: Any = type(twin)
        reads = self

        def look(self: Any, name: str) -> Any:
            value = kind.__getattribute__(self, name)
            if not name.startswith("__") and name not in _MACHINERY:
                reads._attribute(self, path, name, value)
            return value

        def find(self: Any, name: str) -> Any:  # a weight, a buffer, a module
            value = kind.__getattr__(self, name)
            reads._registered(self, path, name, value)
            return value

        def write(self: Any, name: str, value: Any) -> None:
            raise CannotFuse(f"it writes its attribute {path}{name}")

        body = {"__getattribute__": look, "__getattr__": find, "__setattr__": write}
        twin.__class__ = type(kind.__name__, (kind,), {**body, "__module__": kind.__module__, "__watched__": kind})

    def _registered(self, module: Any, path: str, name: str, value: Any) -> None:
        if name in module.__dict__["_parameters"]:
            self._weights[path, name] = _shape(value)
        elif isinstance(value, nn.Module):
            self._note_as(f"{path}{name}", _kind_of(path + name), _kind(value))
        else:
            self._note(path + name, value)

    def _attribute(self, module: Any, path: str, name: str, value: Any) -> None:
        described = inspect.getattr_static(type(module), name, None)
        if name in _HOOKS:
            self._hooks(path, name, value)
        elif name in ("_modules", "_parameters", "_buffers"):
            self._note_as(path + name, _contents(path + name), _contents("")(value))
        elif isinstance(value, MethodType) and value.__self__ is module:
            if getattr(nn.Module, name, None) is not value.__func__:
                self._note(f"{path}{name}.__func__", value.__func__)
                self._follow(value.__func__)
        elif isinstance(described, property | cached_property):
            self._follow(described.fget if isinstance(described, property) else described.func)
            if _comparable(value):  # otherwise its parts are recorded themselves
                self._note(path + name, value)
        else:
            self._note(path + name, value)
            self._follow(value)

    def _hooks(self, path: str, name: str, value: Any) -> None:
        """A kernel would bypass hooks."""
        if value:
            raise CannotFuse(f"{path[:-1] or 'it'} has hooks")
        self._note_as(path + name, _contents(path + name), ())

    def _note(self, name: str, value: Any) -> None:
        self._note_as(name, attrgetter(name), value)

    def _note_as(self, name: str, get: Callable[[Any], Any], value: Any) -> None:
        if name not in self._looks:
            try:
                self._looks[name] = _Look(name, get, value)
            except _Differs:
                raise CannotFuse(f"it reads {name}, a {type(value).__name__} that may change unseen") from None

    def _follow(self, function: Any) -> None:
        """Records the outside variables that a function reads, and those of the functions that it calls by name."""
        if isinstance(function, partial):
            function = function.func
        if not isinstance(function, FunctionType) or settled(function.__module__ or ""):
            return
        for code in codes(function.__code__):
            if code in self._seen:
                continue
            self._seen.add(code)
            for name in {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}:
                if name in function.__globals__:
                    self._outside(f"{function.__module__}.{name}", partial(_global, function.__globals__, name))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._outside(f"{function.__qualname__}.{name}", partial(_enclosed, cell))

    def _outside(self, name: str, get: Callable[[Any], Any]) -> None:
        try:
            value = get(None)
        except ValueError:  # not defined yet
            return
        if not isinstance(value, type | ModuleType):
            self._note_as(name, get, value)
            self._follow(value)


def _kind(module: Any) -> type:
    """The module's class, even if it is watched."""
    return getattr(type(module), "__watched__", type(module))


def _kind_of(name: str) -> Callable[[Any], type]:
    get = attrgetter(name)
    return lambda cell: _kind(get(cell))


def _contents(name: str) -> Callable[[Any], Any]:
    """The classes in a dictionary of a module, in the order of its names."""
    get: Callable[[Any], Any] = attrgetter(name) if name else lambda value: value
    return lambda cell: tuple((key, None if one is None else _kind(one)) for key, one in get(cell).items())


def settled(module: str) -> bool:
    """Whether a module's functions read nothing outside that changes: torch's and our own."""
    ours = module.startswith("unroll.recurrence.") and not module.startswith("unroll.recurrence.contributed.")
    return ours or module.partition(".")[0] == "torch"


def _global(variables: dict[str, Any], name: str, _: Any) -> Any:
    return variables[name]


def _enclosed(variable: Any, _: Any) -> Any:
    return variable.cell_contents


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of the functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def _comparable(value: Any) -> bool:
    try:
        frozen(value)
    except _Differs:
        return False
    return True
