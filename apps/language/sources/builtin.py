"""Python's own reference topics, which `help("topic")` shows. No download; the text depends on the Python version.

Some topics repeat others in full, so a paragraph is kept only where it first occurs: otherwise parts of the test split
would be seen in training.
"""

from collections.abc import Iterator
from itertools import accumulate

from unroll.data.source import SPLITS, Split, by_hash, content_digest

from . import Documents, Source

SHARE = 0.06
"""of the text for val, and as much for test"""
BETWEEN = "\n\n\n"
"""between two topics"""


def source() -> Source:
    """The text of whole topics, in an order determined by their names."""
    topics = _topics()
    names = _splits(topics)
    texts = {split: BETWEEN.join(topics[name] for name in names[split]) + "\n" for split in SPLITS}
    content = content_digest([texts])

    def read(split: Split) -> Iterator[str]:
        yield texts[split]

    def documents(split: Split) -> Documents:
        starts = accumulate((len(topics[name] + BETWEEN) for name in names[split]), initial=0)
        return list(zip(names[split], starts, strict=False))

    return Source({"source": "builtin", "content": content, "split": "by hash of the topic"}, read, documents=documents)


def _splits(topics: dict[str, str]) -> dict[Split, list[str]]:
    """The names of the topics of each split."""
    limit = SHARE * sum(map(len, topics.values()))
    found: dict[Split, list[str]] = {"test": [], "val": [], "train": []}
    for name in sorted(topics, key=by_hash):
        # The first split with room left; a topic that is too long is not cut, and goes to train.
        held_out: tuple[Split, ...] = ("test", "val")
        sizes = {split: sum(len(topics[other]) for other in found[split]) for split in held_out}
        fits = (split for split in held_out if sizes[split] + len(topics[name]) <= limit)
        found[next(fits, "train")].append(name)
    return found


def _topics() -> dict[str, str]:
    """The paragraphs of each topic that occur in no earlier topic."""
    from pydoc_data.topics import topics

    seen: set[str] = set()
    new = {}
    for name in sorted(topics):
        paragraphs = [p for p in topics[name].strip().split("\n\n") if p not in seen]
        seen.update(paragraphs)
        new[name] = "\n\n".join(paragraphs)
    return {name: text for name, text in new.items() if text}
