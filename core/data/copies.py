"""Files that a user has twice, by their bytes: what is in train and in test makes every figure better than it is."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

SHOWN = 3
"""copies that a note names"""


class Item(NamedTuple):
    """An example, for which a file or several stand."""

    name: str
    split: str
    said: str
    """what the user says of it, its class or its text; "" where several things may be said"""
    digest: str


def notes(items: Iterable[Item], known: str) -> tuple[str, ...]:
    """What should be told of copies: those of train in val and test, and those of which two things are said.

    Args:
        items: every example.
        known: what `said` is, for people, for example "class".
    """
    items = list(items)
    return (*_leaks(items), *_contradictions(items, known))


def _leaks(items: list[Item]) -> Iterator[str]:
    trained = {item.digest: item for item in items if item.split == "train"}
    held = [item for item in items if item.split != "train"]
    copies = [(item, trained[item.digest]) for item in held if item.digest in trained]
    if copies:
        yield (
            f"{len(copies):,} of {len(held):,} in val and test are in train too, byte for byte ({_pairs(copies)}): "
            "what is measured on them is too good; remove the copies"
        )


def _contradictions(items: list[Item], known: str) -> Iterator[str]:
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.digest, item)
    twice = [(item, first[item.digest]) for item in items if item.said != first[item.digest].said]
    if twice:
        yield f"{len(twice):,} are there once more with another {known}, byte for byte ({_pairs(twice)}); correct them"


def _pairs(copies: list[tuple[Item, Item]]) -> str:
    named = ", ".join(f"{one.name} is {other.name}" for one, other in copies[:SHOWN])
    return named + (", ..." if len(copies) > SHOWN else "")
