"""Where recordings and their transcripts come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from ..audio import Samples

__all__ = ["DIGITS", "SPLITS", "Source", "Split", "Utterance"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Utterance(NamedTuple):
    """One recording and what is said in it."""

    id: str
    """for people: the file, or the number in the built-in data"""
    text: str
    speaker: str
    split: Split
    samples: Samples
    """[N], full scale is 1, at the rate that the source was asked for"""


@dataclass(frozen=True)
class Source:
    """A set of utterances that can be read, one by one, any number of times."""

    spec: dict[str, Any]
    """plain JSON values that determine every utterance"""
    read: Callable[[], Iterator[Utterance]]
    """raises UserError naming the record that is at fault"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
