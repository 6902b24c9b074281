"""Sentences to numbers and back. An end of line precedes and follows each sentence."""

from collections.abc import Iterable, Sequence

from unroll.sequence.tokens import Tokeniser, Units


def fit(sentences: Iterable[str], units: Units, size: int) -> Tokeniser:
    """A tokeniser for these sentences. Each digit is a piece of its own, so that numbers are copied digit by digit."""
    return Tokeniser.fit((f"{_open(text, units)}\n" for text in sentences), units, size, digits=True)


def encode(tokeniser: Tokeniser, sentence: str) -> list[int]:
    """The numbers of its tokens, without the ends; line ends inside count as spaces."""
    return tokeniser.encode(_open(" ".join(sentence.splitlines()), tokeniser.units)) if sentence.strip() else []


def decode(tokeniser: Tokeniser, numbers: Sequence[int]) -> str:
    """The sentence of these numbers."""
    return tokeniser.decode(numbers).strip()


def _open(sentence: str, units: Units) -> str:
    # With a space in front, the first word is the same piece as within a sentence.
    return f" {sentence}" if units == "pieces" else sentence
