"""The examples: sessions of clicks. Replace `example` by your own, or bring a file of records."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.records import Record
from core.sequence.batching import pad

FIELDS = {"items": list}
UNKNOWN, OUTSIDE = 0, -100
"""number of an item that training never saw; target past a session's end"""
GENRES = ["tea", "shoes", "books", "lamps", "bikes", "games"]
EXAMPLES = ("tea-3,tea-5,tea-1", "books-2,lamps-4")


class Batch(NamedTuple):
    """Sessions of similar length."""

    clicks: Tensor
    """numbers in facts["items"], without each session's last, [T, B]"""
    lengths: Tensor
    """[B]"""
    targets: Tensor
    """the click that follows; OUTSIDE past the end, [T, B]"""
    records: list[Record]


def example(random: np.random.Generator) -> Record:
    """Somebody who mostly stays with a genre, sometimes goes on to the next one, and walks along its shelf."""
    genre, place, items = int(random.integers(len(GENRES))), int(random.integers(10)), []
    for _ in range(int(random.integers(3, 12))):
        items.append(f"{GENRES[genre]}-{place}")
        genre = (genre + int(random.random() < 0.15)) % len(GENRES)
        place = (place + int(random.choice([1, 2, 2, 3]))) % 10
    return {"items": items}


def facts(records: list[Record]) -> dict[str, Any]:
    """The items in the order of their numbers."""
    return {"items": ["<unknown>", *sorted({item for record in records for item in record["items"]})]}


def length(record: Record) -> int:
    """Steps of an example. Raises UserError where there is no click to predict, or one is no name."""
    if len(record["items"]) < 2 or not all(isinstance(item, str) for item in record["items"]):
        raise UserError(f"{record['id']}: its 'items' must be two names or more; correct the record or leave it out")
    return len(record["items"]) - 1


def encode(items: list[str], known: list[str]) -> list[int]:
    """Numbers of some items."""
    numbers = {item: number for number, item in enumerate(known)}
    return [numbers.get(item, UNKNOWN) for item in items]


def collate(records: list[Record], facts: dict[str, Any]) -> Batch:
    """Some sessions as a batch, time first."""
    rows = [torch.tensor(encode(record["items"], facts["items"])) for record in records]
    clicks, lengths = pad([row[:-1] for row in rows])
    return Batch(clicks, lengths, pad([row[1:] for row in rows], OUTSIDE)[0], records)
