"""Where pairs of sentences come from: builtin, sick, stsb, quora, csv."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from unroll.data import source
from unroll.data.source import Split

__all__ = ["ENTAILMENT", "Pair", "Source"]

ENTAILMENT = ("NEUTRAL", "ENTAILMENT", "CONTRADICTION")
"""what the first sentence says about the second, in SICK's words"""


class Pair(NamedTuple):
    """Two sentences, and how similar people (or the facts) find them."""

    id: str
    a: str
    b: str
    score: float
    split: Split
    label: str = ""
    """one of ENTAILMENT, or "" where nobody has said"""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Iterator[Pair]]):
    """Pairs, and how they are scored."""

    low: float
    """score of sentences that have nothing in common"""
    high: float
    """score of sentences that mean the same"""
