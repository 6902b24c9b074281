"""The examples: numbers, and how English says them. Replace `example` by your own, or bring a file of records."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.records import Record
from core.sequence.batching import pad
from core.sequence.text import Vocabulary

FIELDS = {"source": str, "target": str}
END, UNKNOWN = 0, 1
"""numbers of the symbol around each target, and of one that training never saw"""
OUTSIDE = -100
"""target past a text's end"""
ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
EXAMPLES = ("372", "9040", "17")


class Batch(NamedTuple):
    """Pairs of similar length."""

    sources: Tensor
    """characters of the sources, [S, B]"""
    source_lengths: Tensor
    """[B]"""
    inputs: Tensor
    """END and the words of the target, [T, B]"""
    targets: Tensor
    """the words of the target and END; OUTSIDE past that, [T, B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """A number of one to four digits."""
    number = int(random.integers(10 ** random.integers(1, 5)))
    return {"source": str(number), "target": _spoken(number)}


def _spoken(number: int) -> str:
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{_spoken(number // size)} {name}" + (f" {_spoken(rest)}" if rest else "")
    if number < 20:
        return (ONES + TEENS)[number]
    return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")


def facts(records: list[Record]) -> dict[str, Any]:
    """The vocabularies: characters of the sources, words of the targets, and how long an output may become."""
    return {
        "source": Vocabulary.fit((r["source"] for r in records), reserved=("<end>", "<unk>")).to_json(),
        "target": Vocabulary.fit((r["target"] for r in records), "words", ("<end>", "<unk>")).to_json(),
        "longest": 2 * max(len(record["target"].split()) for record in records),
    }


def length(record: Record) -> int:
    """Steps of an example."""
    return len(record["source"]) + len(record["target"].split()) + 1


def encode(symbols: list[str], vocabulary: Vocabulary) -> list[int]:
    """Numbers of some symbols."""
    numbers = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    return [numbers.get(symbol, UNKNOWN) for symbol in symbols]


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Some pairs as a batch, time first."""
    source, target = Vocabulary.from_json(facts["source"]), Vocabulary.from_json(facts["target"])
    sources, lengths = pad([torch.tensor(encode(list(record["source"]), source)) for record in records])
    texts = [torch.tensor([END, *encode(record["target"].split(), target), END]) for record in records]
    return Batch(sources, lengths, pad([t[:-1] for t in texts])[0], pad([t[1:] for t in texts], OUTSIDE)[0], records)
