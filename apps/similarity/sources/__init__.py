"""Where pairs of sentences come from: builtin, sick, stsb, quora, csv."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from unroll.data import source
from unroll.data.source import Split
from unroll.reads import Reads, patterns

__all__ = ["ENTAILMENT", "READS", "UNLABELLED", "Pair", "Source"]

ENTAILMENT = ("NEUTRAL", "ENTAILMENT", "CONTRADICTION")
"""what the first sentence implies about the second, in SICK's terms"""
UNLABELLED = -100
"""in place of its number if it is unknown; the loss ignores it"""


class Pair(NamedTuple):
    """Two sentences, and how similar they are by human judgement (or by their facts)."""

    id: str
    a: str
    b: str
    score: float
    split: Split
    label: str = ""
    """one of ENTAILMENT, or "" if unknown"""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Iterator[Pair]]):
    """Pairs, and the range of their scores."""

    low: float
    """score of sentences that have nothing in common"""
    high: float
    """score of sentences that mean the same"""


READS = {
    "builtin": Reads(("pairs", "seed")),
    "sick": Reads(path="SICK.txt, or its folder", files=("sick.txt",), folders=("sick.txt",)),
    "stsb": Reads(path="the folder of sts-train.csv", folders=("sts-train.csv",)),
    "quora": Reads(
        path="quora_duplicate_questions.tsv, or its folder",
        files=("quora_duplicate_questions.tsv",),
        folders=("quora_duplicate_questions.tsv",),
    ),
    "csv": Reads(
        ("columns", "low", "high"),
        path="a table of pairs",
        files=patterns("csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json"),
    ),
}
"""the settings that each source reads, and the paths that it takes"""
