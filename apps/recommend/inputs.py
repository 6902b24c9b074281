"""What `predict` takes beside text. Needs no torch, as all that describes the application."""

from typing import NotRequired, TypedDict

from typing_extensions import TypeIs

from unroll.values import Value

from .catalogue import Items, is_items


class Session(TypedDict):
    """A history with the name of its session, which is repeated in the output."""

    session: NotRequired[str | int]
    history: str | Items


Input = str | Items | Session


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
