"""The form of a sentence before it is tokenised."""

from unroll.sequence import text
from unroll.sequence.tokens import Units


def plain(sentence: str, units: Units) -> str:
    """See `unroll.sequence.text.plain`; with words, punctuation marks are words of their own."""
    return text.plain(sentence, "split" if units == "words" else "keep")
