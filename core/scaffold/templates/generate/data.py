"""The examples: lines of text. Replace `example` by your own, or bring a file of records."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.records import Record
from core.sequence.batching import pad
from core.sequence.text import Vocabulary

FIELDS = {"text": str}
END, UNKNOWN = 0, 1
"""numbers of the symbol around each line, and of one that training never saw"""
OUTSIDE = -100
"""target past a line's end"""
PARTS = [
    ["the old", "a young", "my", "every", "the tired"],
    ["captain", "gardener", "neighbour", "baker", "sailor"],
    ["sells", "carries", "paints", "looks for", "forgets"],
    ["two ripe apples", "a blue boat", "the long letter", "a red hat", "some fresh bread"],
    ["in spring", "before dawn", "on market day", "when it rains", "at last"],
]
EXAMPLES = ("the old ", "my baker paints ")


class Batch(NamedTuple):
    """Lines of similar length."""

    inputs: Tensor
    """END and the line's symbols, [T, B]"""
    lengths: Tensor
    """steps of each, [B]"""
    targets: Tensor
    """the line's symbols and END; OUTSIDE past that, [T, B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """Somebody does something at some time."""
    return {"text": " ".join(str(random.choice(words)) for words in PARTS) + "."}


def facts(records: list[Record]) -> dict[str, Any]:
    """The vocabulary."""
    return {"vocabulary": Vocabulary.fit((r["text"] for r in records), reserved=("<end>", "<unk>")).to_json()}


def length(record: Record) -> int:
    """Steps of an example."""
    return len(record["text"]) + 1


def encode(text: str, vocabulary: Vocabulary) -> list[int]:
    """Numbers of the characters of a text."""
    numbers = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    return [numbers.get(symbol, UNKNOWN) for symbol in text]


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Some lines as a batch, time first."""
    vocabulary = Vocabulary.from_json(facts["vocabulary"])
    lines = [torch.tensor([END, *encode(record["text"], vocabulary), END]) for record in records]
    inputs, lengths = pad([line[:-1] for line in lines])
    return Batch(inputs, lengths, pad([line[1:] for line in lines], OUTSIDE)[0], records)
