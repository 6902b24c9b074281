"""The Python values that an application's `predict` accepts besides text, and the error for everything else."""

import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from typing_extensions import TypeIs, TypeVar

from unroll.errors import UserError

ValueT = TypeVar("ValueT", default=Any)


@dataclass(frozen=True)
class Value(Generic[ValueT]):
    """A kind of Python value that an application accepts as input, besides text as typed on the command line.

    An application lists its kinds in `App.values`, and uses their union in the type of its `predict`.
    """

    about: str
    """for messages, after "it takes": "(samples, rate): an array [N] or [N, channels], and samples per second" """
    fits: "Callable[[object], TypeIs[ValueT]]"
    """whether a value is of this kind, by its type and shape; its contents are checked when it is read"""
    of: Callable[[str], ValueT]
    """one of the application's examples -> the same input as a value of this kind; the conformance suite uses both"""


def is_path(value: object) -> "TypeIs[Path]":
    """Whether a value is a path, which is equivalent to its text."""
    return isinstance(value, Path)


def listed(given: object) -> list[Any]:
    """The inputs: a list as it is; anything else, including a tuple or an array, as the only one."""
    return list(given) if isinstance(given, list) else [given]


def check(app: str, values: Sequence[Value], inputs: Iterable[Any]) -> None:
    """Raise UserError for the first input that is neither text nor of any of these kinds."""
    for number, given in enumerate(inputs, start=1):
        if not isinstance(given, str) and not any(value.fits(given) for value in values):
            taken = "; or ".join(["text", *(value.about for value in values)])
            raise UserError(f"input {number}: {app} does not take {shown(given)}; it takes {taken}")


def shown(value: object) -> str:
    """A short description of a value: its type, and its shape or its beginning."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{kind} of {getattr(value, 'dtype', '?')} {list(shape)}"
    return f"{kind} {' '.join(reprlib.repr(value).split())}"
