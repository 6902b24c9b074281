"""Texts in one form, and the symbols that they are written in with their numbers."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

from unroll.errors import UserError

Units = Literal["characters", "words"]
WORD = re.compile(r"\w+(?:['’-]\w+)*")
WORD_OR_MARK = re.compile(rf"{WORD.pattern}|[^\w\s]")


def plain(text: str, punctuation: Literal["keep", "split", "drop"] = "keep") -> str:
    """Lower case, one form of every character (NFKC), and single spaces.

    Args:
        text: of any length.
        punctuation: stays as it is written, is split off as words of its own, or is dropped; an apostrophe or a hyphen
            inside a word is a part of it.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    if punctuation == "keep":
        return " ".join(text.split())
    return " ".join((WORD_OR_MARK if punctuation == "split" else WORD).findall(text))


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text, and their numbers.

    `reserved` symbols (blank, padding, end) have the first numbers; no text contains them, and `decode` drops them.
    """

    symbols: tuple[str, ...]
    units: Units = "characters"
    reserved: int = 0

    @classmethod
    def fit(cls, texts: Iterable[str], units: Units = "characters", reserved: Sequence[str] = ()) -> Self:
        """All symbols that occur in `texts`, sorted, after the reserved ones."""
        found = {symbol for text in texts for symbol in split(text, units)}
        return cls((*reserved, *sorted(found)), units, len(reserved))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols) if number >= self.reserved}

    def encode(self, text: str, record: str) -> list[int]:
        """Numbers of the symbols of `text`.

        Raises:
            UserError: names `record` and the first symbol that is not in the vocabulary.
        """
        try:
            return [self._numbers[symbol] for symbol in split(text, self.units)]
        except KeyError as unknown:
            kind = self.units.removesuffix("s")
            raise UserError(
                f"{record}: the {kind} {unknown.args[0]!r} of its text {text!r} is not among the "
                f"{len(self) - self.reserved} {self.units} that the model knows"
            ) from None

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of `numbers`, without reserved symbols."""
        glue = "" if self.units == "characters" else " "
        return glue.join(self.symbols[number] for number in numbers if number >= self.reserved)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return {"symbols": list(self.symbols), "units": self.units, "reserved": self.reserved}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The vocabulary that `to_json` wrote."""
        return cls(tuple(values["symbols"]), values["units"], values["reserved"])


def split(text: str, units: Units) -> list[str]:
    """The symbols of a text: its characters, or its words."""
    return list(text) if units == "characters" else text.split()
