"""The trainer: loss on a batch, bits per character on a split, and lines that go on from what the user gives."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.app import Report, Score, Step
from core.sequence.decoding import Sampling, sample

from .data import END, OUTSIDE, Batch, encode
from .model import ${Name}

SCORE = Score("bits_per_character", "min")
LONGEST = 200
"""characters that are written at most"""


def step(model: ${Name}, batch: Batch, state: None = None) -> Step:
    """Mean surprisal of the batch's characters, the line's end included."""
    return Step(_surprisal(model, batch).sum() / batch.lengths.sum(), size=int(batch.lengths.sum()))


def _surprisal(model: ${Name}, batch: Batch) -> Tensor:
    """-log p of each character, [T, B], in nats; zero past a line's end."""
    log_probs, _ = model(batch.inputs, lengths=batch.lengths)
    return F.nll_loss(log_probs.permute(1, 2, 0), batch.targets.T, ignore_index=OUTSIDE, reduction="none").T


def evaluate(model: ${Name}, batches: Iterable[Batch]) -> Report:
    """Mean bits per character, and those of each line."""
    rows, bits, characters = [], 0.0, 0
    for batch in batches:
        of_lines = _surprisal(model, batch).sum(0) / math.log(2)
        for record, line, steps in zip(batch.records, of_lines.tolist(), batch.lengths.tolist(), strict=True):
            bits, characters = bits + line, characters + steps
            row = {"id": record["id"], "reference": record["text"], "prediction": f"{line / steps:.3f} bits"}
            rows.append({**row, "score": line / steps})
    return Report({"bits_per_character": bits / characters}, rows, "per character, line ends included|version 1")


def predict(model: ${Name}, inputs: Sequence[str]) -> list[str]:
    """A line that begins with each input; the same one every time."""
    return [text + "".join(write(model, text)) for text in inputs]


def write(model: ${Name}, text: str) -> Iterator[str]:
    """The characters behind `text`, one by one, to the line's end."""
    *before, last = [END, *encode(text, model.vocabulary)]
    state = model(torch.tensor(before)[:, None])[1] if before else None

    def advance(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        log_probs, state = model(tokens[None], state)
        return log_probs[0], state

    drawn = sample(advance, torch.tensor([last]), state, Sampling(temperature=0.7), torch.Generator().manual_seed(0))
    for token in islice(drawn, LONGEST):
        if token.item() == END:
            return
        yield model.vocabulary.symbols[int(token)]
