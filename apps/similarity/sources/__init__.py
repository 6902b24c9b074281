"""Where pairs of sentences come from: builtin, sick, stsb, quora, csv."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["ENTAILMENT", "SPLITS", "Pair", "Source", "Split"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
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


@dataclass(frozen=True)
class Source:
    """A set of pairs and what it depends on."""

    spec: dict[str, Any]
    """plain JSON values: everything that the pairs depend on"""
    low: float
    """score of sentences that have nothing in common"""
    high: float
    """score of sentences that mean the same"""
    read: Callable[[], Iterator[Pair]]
