"""Where texts come from. A source gives the three splits, each as text that is read piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["SPLITS", "Documents", "Source", "Split"]

Documents = list[tuple[str, int]]
"""(name, its first character's place in the text of its split) of each document, in their order"""
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """Three texts."""

    spec: dict[str, Any]
    """plain JSON values that determine every character"""
    read: Callable[[Split], Iterator[str]]
    """the text of a split, in pieces cut anywhere; raises UserError naming the file that is at fault"""
    documents: Callable[[Split], Documents] = lambda split: []
    """what a split's text consists of, which the first one begins; empty where that is not known"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""
