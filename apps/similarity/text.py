"""How a sentence is written before its parts are numbered."""

from unroll.sequence import text
from unroll.sequence.tokens import Units


def plain(sentence: str, units: Units) -> str:
    """See `unroll.sequence.text.plain`; for words, punctuation stands by itself."""
    return text.plain(sentence, "split" if units == "words" else "keep")
