"""Sentences as numbers and back. The end of a line stands before and after each sentence."""

from collections.abc import Iterable, Sequence

from unroll.sequence.tokens import Tokeniser, Units


def fit(sentences: Iterable[str], units: Units, size: int) -> Tokeniser:
    """The tokeniser of these sentences. Pieces keep digits apart: numbers are copied digit by digit."""
    return Tokeniser.fit((f"{_open(text, units)}\n" for text in sentences), units, size, digits=True)


def encode(tokeniser: Tokeniser, sentence: str) -> list[int]:
    """Its numbers, without the ends; line ends inside count as spaces."""
    return tokeniser.encode(_open(" ".join(sentence.splitlines()), tokeniser.units)) if sentence.strip() else []


def decode(tokeniser: Tokeniser, numbers: Sequence[int]) -> str:
    """The sentence that these numbers spell."""
    return tokeniser.decode(numbers).strip()


def _open(sentence: str, units: Units) -> str:
    # With a space before it, the first word is the same piece as in the middle of a sentence.
    return f" {sentence}" if units == "pieces" else sentence
