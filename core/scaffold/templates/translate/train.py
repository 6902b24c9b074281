"""The trainer: loss on a batch, exact match on a split, translations of what the user gives."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.app import Report, Score, Step
from core.errors import UserError
from core.sequence.batching import pad
from core.sequence.decoding import beam_search

from .data import END, OUTSIDE, Batch, encode
from .model import ${Name}

SCORE = Score("exact_match", "max")
WIDTH = 4
"""of the beam"""


def step(model: ${Name}, batch: Batch, state: None = None) -> Step:
    """Mean cross-entropy over the words of the targets, given the words before them (teacher forcing)."""
    log_probs, _ = model.decode(batch.inputs, model.encode(batch.sources, batch.source_lengths))
    loss = F.nll_loss(log_probs.flatten(0, 1), batch.targets.flatten(), ignore_index=OUTSIDE)
    return Step(loss, size=int((batch.targets != OUTSIDE).sum()))


def evaluate(model: ${Name}, batches: Iterable[Batch]) -> Report:
    """The share of sources whose translation is exactly the wanted one."""
    rows = []
    for batch in batches:
        for record, found in zip(batch.records, _translate(model, batch.sources, batch.source_lengths), strict=True):
            row = {"id": record["id"], "reference": record["target"], "prediction": found}
            rows.append({**row, "score": float(found == record["target"]), "source": record["source"]})
    exact = sum(row["score"] for row in rows) / len(rows)
    return Report({"exact_match": exact}, rows, f"share of texts|beam {WIDTH}|version 1")


def _translate(model: ${Name}, sources: Tensor, lengths: Tensor) -> list[str]:
    memory = model.encode(sources, lengths)
    rows = len(lengths)

    def advance(words: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, seen = state
        log_probs, hidden = model.decode(words[None], seen, hidden)
        return log_probs[0], (hidden, seen)

    first = torch.full((rows,), END, device=sources.device)
    start = (model.decoder.initial(rows), memory)
    found = beam_search(advance, first, start, width=WIDTH, longest=model.longest, end=END, length_penalty=1.0)
    return [model.target.decode(best.tokens) for best, *_ in found]


def predict(model: ${Name}, inputs: Sequence[str]) -> list[str]:
    """The translation of each input. Raises UserError for an empty one."""
    for number, text in enumerate(inputs, start=1):
        if not text:
            raise UserError(f"input {number}: is empty; give it some text")
    return _translate(model, *pad([torch.tensor(encode(list(text), model.source)) for text in inputs]))
