"""What `predict` takes besides text."""

from typing_extensions import TypeIs

from unroll.values import Value

Pair = tuple[str, str] | list[str]
Input = str | Pair


def is_pair(value: object) -> TypeIs[Pair]:
    """Whether a value is two texts."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def pair(text: str) -> Pair:
    """The two sentences of a text `first | second`."""
    first, second = text.split("|")
    return first.strip(), second.strip()


VALUES = (Value[Pair]("a pair of sentences: two texts in a tuple or a list", is_pair, pair),)
