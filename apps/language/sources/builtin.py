"""Python's own reference topics, what `help("topic")` shows. No download; another text for another Python version.

Some topics repeat others in full, so a paragraph is kept only where it stands first: else the test split would have
been read in training.
"""

import hashlib
from collections.abc import Iterator

from apps.language.sources import Source, Split

SHARE = 0.06
"""of the text that goes to val, and as much to test"""


def source() -> Source:
    """The text of whole topics, in an order that their names decide."""
    texts = _splits()
    content = hashlib.sha256(repr(texts).encode()).hexdigest()

    def read(split: Split) -> Iterator[str]:
        yield texts[split]

    return Source({"source": "builtin", "content": content, "split": "by hash of the topic"}, read)


def _splits() -> dict[str, str]:
    topics = _topics()
    limit = SHARE * sum(map(len, topics.values()))
    texts: dict[str, list[str]] = {"test": [], "val": [], "train": []}
    for name in sorted(topics, key=lambda name: hashlib.sha256(name.encode()).digest()):
        # The first split that still has room; a long topic stays whole, and goes to train.
        fits = (split for split in ("test", "val") if sum(map(len, texts[split])) + len(topics[name]) <= limit)
        texts[next(fits, "train")].append(topics[name])
    return {split: "\n\n\n".join(parts) + "\n" for split, parts in texts.items()}


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
