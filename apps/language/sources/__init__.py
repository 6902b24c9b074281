"""Where texts come from. A source has three splits, each a text that is read piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unroll.data import source
from unroll.data.source import Split
from unroll.reads import Reads

__all__ = ["READS", "Documents", "Source"]

Documents = list[tuple[str, int]]
"""(name, offset of its first character in the text of its split) of each document, in order"""


@dataclass(frozen=True)
class Source(source.Source[[Split], Iterator[str]]):
    """The text of each split, in pieces cut anywhere."""

    documents: Callable[[Split], Documents] = lambda split: []
    """the documents of a split, the first one at its beginning; empty if they are unknown"""


READS = {
    "builtin": Reads(),
    "ptb": Reads(),
    "wikitext2": Reads(),
    "file": Reads(("held_out",), path="a text file, or a folder of them", files=("*",), folders=("*",)),
}
"""the settings that each source reads, and the paths that it takes"""
