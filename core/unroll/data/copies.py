"""Duplicate files, by content: examples in both train and test make every metric too good."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unroll.data.files import sha256
from unroll.errors import few


class Item(NamedTuple):
    """An example, made of one or several files."""

    name: str
    split: str
    said: str
    """its label: a class or a text; "" if several labels may be right"""
    digest: str


def notes(items: Iterable[Item], known: str) -> tuple[str, ...]:
    """Notes on duplicates: those of train in val and test, and those with contradictory labels.

    Args:
        items: every example.
        known: what `said` is called, for example "class".
    """
    items = list(items)
    return (*_leaks(items), *_contradictions(items, known))


def first_of_each(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, Path]]]:
    """(files without duplicates, (duplicate, the earlier file that it equals)).

    Only files that have the same size as another are read.
    """
    sizes = Counter(path.stat().st_size for path in paths)
    first: dict[str | Path, Path] = {}
    twice = []
    for path in paths:
        key = sha256(path) if sizes[path.stat().st_size] > 1 else path
        if (one := first.setdefault(key, path)) is not path:
            twice.append((path, one))
    return list(first.values()), twice


def once_note(root: Path, twice: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    """A note that names the copies passed over in a folder; nothing if there are none."""
    named = [(str(file.relative_to(root)), str(one.relative_to(root))) for file, one in twice]
    if named:
        what = "1 file is a copy of another and is" if len(named) == 1 else f"{len(named):,} files are copies and are"
        yield f"{what} passed over, byte for byte: {_named(named)}"


def _leaks(items: list[Item]) -> Iterator[str]:
    trained = {item.digest: item for item in items if item.split == "train"}
    held = [item for item in items if item.split != "train"]
    copies = [(item, trained[item.digest]) for item in held if item.digest in trained]
    if copies:
        yield (
            f"{len(copies):,} of {len(held):,} in val and test are in train too, byte for byte ({_pairs(copies)}): "
            "their results are too good; remove the copies"
        )


def _contradictions(items: list[Item], known: str) -> Iterator[str]:
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.digest, item)
    twice = [(item, first[item.digest]) for item in items if item.said != first[item.digest].said]
    if twice:
        yield f"{len(twice):,} are there once more with another {known}, byte for byte ({_pairs(twice)}); correct them"


def _pairs(copies: list[tuple[Item, Item]]) -> str:
    return _named([(one.name, other.name) for one, other in copies])


def _named(copies: Sequence[tuple[str, str]]) -> str:
    return few([f"{one} is {other}" for one, other in copies])
