"""Where texts come from. A source gives the three splits, each as text that is read piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unroll.data import source
from unroll.data.source import Split
from unroll.reads import Reads

__all__ = ["READS", "Documents", "Source"]

Documents = list[tuple[str, int]]
"""(name, its first character's place in the text of its split) of each document, in their order"""


@dataclass(frozen=True)
class Source(source.Source[[Split], Iterator[str]]):
    """The text of each split, in pieces cut anywhere."""

    documents: Callable[[Split], Documents] = lambda split: []
    """what a split's text consists of, which the first one begins; empty where that is not known"""


READS = {
    "builtin": Reads(),
    "ptb": Reads(),
    "wikitext2": Reads(),
    "file": Reads(("held_out",), path="a text file, or a folder of them", files=("*",), folders=("*",)),
}
"""the settings that each source reads, and the paths that it takes"""
