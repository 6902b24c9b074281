"""Where recordings and their transcripts come from."""

from collections.abc import Iterator
from typing import NamedTuple

from unroll.data import source
from unroll.data.source import Split

from ..audio import Samples

__all__ = ["DIGITS", "Source", "Utterance"]


class Utterance(NamedTuple):
    """One recording and what is said in it."""

    id: str
    """human-readable: the file, or the number in the built-in data"""
    text: str
    speaker: str
    split: Split
    samples: Samples
    """[N], full scale is 1, at the sampling rate of the source"""


Source = source.Source[[], Iterator[Utterance]]
"""a data set of utterances, all at one sampling rate"""


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
