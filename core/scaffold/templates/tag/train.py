"""The trainer: loss on a batch, accuracy on a split, tags of what the user gives."""

from collections.abc import Iterable, Sequence

import torch
from torch.nn import functional as F

from core.app import Report, Score, Step
from core.errors import UserError

from .data import OUTSIDE, Batch, encode, parted
from .model import ${Name}

SCORE = Score("accuracy", "max")


def step(model: ${Name}, batch: Batch, state: None = None) -> Step:
    """Mean cross-entropy over the words of the batch."""
    scores = model(batch.words, batch.lengths)
    loss = F.cross_entropy(scores.flatten(0, 1), batch.tags.flatten(), ignore_index=OUTSIDE)
    return Step(loss, size=int(batch.lengths.sum()))


def evaluate(model: ${Name}, batches: Iterable[Batch]) -> Report:
    """The share of words that get their own tag."""
    rows, right, words = [], 0, 0
    for batch in batches:
        chosen = model(batch.words, batch.lengths).argmax(2).T.tolist()
        for record, numbers in zip(batch.records, chosen, strict=True):
            sentence, tags = parted(record)
            found = [model.tags[number] for number in numbers[: len(tags)]]
            hits = sum(a == b for a, b in zip(found, tags, strict=True))
            right, words = right + hits, words + len(found)
            row = {"id": record["id"], "reference": " ".join(tags), "prediction": " ".join(found)}
            rows.append({**row, "score": hits / len(found), "words": " ".join(sentence)})
    return Report({"accuracy": right / words}, rows, "share of words|version 1")


def predict(model: ${Name}, inputs: Sequence[str]) -> list[str]:
    """The tags of each sentence. Raises UserError for one without words."""
    outputs = []
    for number, text in enumerate(inputs, start=1):
        words = text.split()
        if not words:
            raise UserError(f"input {number}: has no words; write a sentence with spaces between its words")
        scores = model(encode(words, model.words)[:, None], torch.tensor([len(words)]))
        outputs.append(" ".join(model.tags[tag] for tag in scores.argmax(2)[:, 0].tolist()))
    return outputs
