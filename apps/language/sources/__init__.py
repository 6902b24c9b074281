"""Where texts come from. A source gives the three splits, each as text that is read piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """Three texts."""

    spec: dict[str, Any]
    """plain JSON values that determine every character"""
    read: Callable[[Split], Iterator[str]]
    """the text of a split, in pieces cut anywhere; raises UserError naming the file that is at fault"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""
