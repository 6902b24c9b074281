"""What `predict` takes beside text."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from unroll.values import Value

Items = Sequence[str | int] | NDArray[np.integer]


class Session(TypedDict):
    """A history with the name of its session, which the output then has as well."""

    session: NotRequired[str | int]
    history: str | Items


Input = str | Items | Session


def is_items(value: object) -> TypeIs[Items]:
    """Whether a value is a sequence of names, titles or numbers."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, list | tuple) and all(isinstance(item, str | int | np.integer) for item in value)


def is_session(value: object) -> TypeIs[Session]:
    """Whether a value is a dict with a history."""
    if not isinstance(value, dict):
        return False
    history = value.get("history")
    return isinstance(history, str) or is_items(history)


def _items(text: str) -> Items:
    return [item.strip() for item in text.split(",")]


VALUES = (
    Value[Items]("items: a list or tuple of names, titles or numbers", is_items, _items),
    Value[Session]("{'session': name, 'history': items}", is_session, lambda text: {"session": "a", "history": text}),
)
