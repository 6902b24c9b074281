"""Where pairs of sentences come from: builtin, multi30k, tsv, csv, jsonl, parallel."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["SPLITS", "Pair", "Source", "Split"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Pair(NamedTuple):
    """A sentence and its translation."""

    id: str
    source: str
    target: str
    split: Split


@dataclass(frozen=True)
class Source:
    """A set of pairs and what it depends on."""

    spec: dict[str, Any]
    """plain JSON values: everything that the pairs depend on"""
    languages: tuple[str, str]
    """from which into which, as CLDR names them ("en", "zh_Hans")"""
    read: Callable[[], Iterator[Pair]]
