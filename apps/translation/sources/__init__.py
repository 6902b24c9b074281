"""Where pairs of sentences come from: builtin, multi30k, tsv, csv, jsonl, parallel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from unroll.data import source
from unroll.data.source import Split

__all__ = ["Pair", "Source"]


class Pair(NamedTuple):
    """A sentence and its translation."""

    id: str
    source: str
    target: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Iterator[Pair]]):
    """Pairs, and of which languages they are."""

    languages: tuple[str, str]
    """from which into which, as CLDR names them ("en", "zh_Hans")"""
