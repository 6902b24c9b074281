"""Where pairs of sentences come from: builtin, multi30k, tsv, csv, jsonl, parallel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from unroll.data import source
from unroll.data.source import Split
from unroll.reads import Reads, patterns

__all__ = ["READS", "Pair", "Source"]


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


READS = {
    "builtin": Reads(("sentences", "seed")),
    "multi30k": Reads(("test",), path="a copy of Multi30k's folder raw", folders=("train.*.gz",)),
    "tsv": Reads(path="a table of two columns, a tab between them", files=patterns("tsv", "tab", "txt")),
    "csv": Reads(path="a table of two columns", files=patterns("csv")),
    "jsonl": Reads(path="a JSON object on each line", files=patterns("jsonl", "ndjson", "json")),
    "parallel": Reads(
        ("target_path",), path="a file of sentences, with data.target_path, that of their translations",
        files=("*",), needs=("target_path",),
    ),
}  # fmt: skip
"""the settings that each source reads, and the paths that it takes"""
