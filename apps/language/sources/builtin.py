"""Python's own reference topics, what `help("topic")` shows. No download; another text for another Python version.

Some topics repeat others in full, so a paragraph is kept only where it stands first: else the test split would have
been read in training.
"""

import hashlib
from collections.abc import Iterator
from itertools import accumulate

from unroll.data.source import SPLITS, Split, by_hash

from . import Documents, Source

SHARE = 0.06
"""of the text that goes to val, and as much to test"""
BETWEEN = "\n\n\n"
"""between two topics"""


def source() -> Source:
    """The text of whole topics, in an order that their names decide."""
    topics = _topics()
    names = _splits(topics)
    texts = {split: BETWEEN.join(topics[name] for name in names[split]) + "\n" for split in SPLITS}
    content = hashlib.sha256(repr(texts).encode()).hexdigest()

    def read(split: Split) -> Iterator[str]:
        yield texts[split]

    def documents(split: Split) -> Documents:
        starts = accumulate((len(topics[name] + BETWEEN) for name in names[split]), initial=0)
        return list(zip(names[split], starts, strict=False))

    return Source({"source": "builtin", "content": content, "split": "by hash of the topic"}, read, documents=documents)


def _splits(topics: dict[str, str]) -> dict[Split, list[str]]:
    """Names of the topics of each split."""
    limit = SHARE * sum(map(len, topics.values()))
    found: dict[Split, list[str]] = {"test": [], "val": [], "train": []}
    for name in sorted(topics, key=by_hash):
        # The first split that still has room; a long topic stays whole, and goes to train.
        held_out: tuple[Split, ...] = ("test", "val")
        sizes = {split: sum(len(topics[other]) for other in found[split]) for split in held_out}
        fits = (split for split in held_out if sizes[split] + len(topics[name]) <= limit)
        found[next(fits, "train")].append(name)
    return found


def _topics() -> dict[str, str]:
    """Each topic's paragraphs that stood in no topic before it."""
    from pydoc_data.topics import topics

    seen: set[str] = set()
    new = {}
    for name in sorted(topics):
        paragraphs = [p for p in topics[name].strip().split("\n\n") if p not in seen]
        seen.update(paragraphs)
        new[name] = "\n\n".join(paragraphs)
    return {name: text for name, text in new.items() if text}
