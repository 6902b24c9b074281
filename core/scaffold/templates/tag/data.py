"""The examples: sentences with a tag for each word. Replace `example` by your own, or bring a file of records.

Many words have several tags ("the light", "a light box", "they light the box"): only their neighbours tell which.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.records import Record
from core.sequence.batching import pad

FIELDS = {"tagged": str}
UNKNOWN, OUTSIDE = 0, -100
"""number of an unknown word; tag number of a step past a sentence's end"""
WORDS = {
    "DET": ["the", "a", "this", "every"],
    "PRON": ["they", "we", "you"],
    "ADJ": ["light", "open", "clean", "red", "cold"],
    "NOUN": ["light", "box", "cold", "open", "cook", "walk", "plant"],
    "VERB": ["light", "box", "open", "clean", "cook", "walk", "plant"],
    "ADV": ["now", "often", "here"],
}
NOUNS = [["DET", "NOUN"], ["DET", "ADJ", "NOUN"], ["DET", "ADJ", "ADJ", "NOUN"]]
EXAMPLES = ("they light the cold light now", "we clean a clean box")


class Batch(NamedTuple):
    """Sentences of similar length."""

    words: Tensor
    """numbers in facts["words"], UNKNOWN for others, [T, B]"""
    lengths: Tensor
    """words of each, [B]"""
    tags: Tensor
    """numbers in facts["tags"], OUTSIDE past the end, [T, B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """Somebody does something to something, sometimes said when or where."""
    first, second, after = (NOUNS[random.integers(3)] for _ in range(3))
    tags = ["PRON", "VERB", *first] if random.random() < 0.5 else [*after, "VERB", *second]
    tags = [*tags, "ADV"] if random.random() < 0.5 else tags
    return {"tagged": " ".join(f"{random.choice(WORDS[tag])}/{tag}" for tag in tags)}


def parted(record: Record) -> tuple[list[str], list[str]]:
    """(words, tags) of "the/DET light/NOUN". Raises UserError for a word without a tag."""
    pairs = [pair.rpartition("/") for pair in record["tagged"].split()]
    if not pairs or not all(word and tag for word, _, tag in pairs):
        raise UserError(f"{record['id']}: {record['tagged']!r} has a word without a tag; write word/TAG word/TAG")
    return [word for word, _, _ in pairs], [tag for _, _, tag in pairs]


def facts(records: list[Record]) -> dict[str, Any]:
    """Words and tags in the order of their numbers."""
    words = sorted({word for record in records for word in parted(record)[0]})
    return {"words": ["<unk>", *words], "tags": sorted({tag for record in records for tag in parted(record)[1]})}


def length(record: Record) -> int:
    """Steps of an example."""
    return len(parted(record)[0])


def encode(words: list[str], known: list[str]) -> Tensor:
    """Numbers of some words, [T]."""
    numbers = {word: number for number, word in enumerate(known)}
    return torch.tensor([numbers.get(word, UNKNOWN) for word in words])


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Some sentences as a batch, time first."""
    sentences = [parted(record) for record in records]
    words, lengths = pad([encode(words, facts["words"]) for words, _ in sentences])
    numbers = {tag: number for number, tag in enumerate(facts["tags"])}
    rows = [torch.tensor([numbers.get(tag, OUTSIDE) for tag in tags]) for _, tags in sentences]
    return Batch(words, lengths, pad(rows, OUTSIDE)[0], records)
