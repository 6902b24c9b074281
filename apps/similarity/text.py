"""How a sentence is cut up before its parts are numbered."""

import re
import unicodedata

from unroll.sequence.tokens import Units

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def plain(text: str, units: Units) -> str:
    """Lower case, one form of every character (NFKC), single spaces; for words, punctuation stands by itself."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(WORD.findall(text) if units == "words" else text.split())
