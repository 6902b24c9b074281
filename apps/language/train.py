"""The loss on a window, and the metrics on a stream."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from unroll.app import Mean, Report, Step
from unroll.sequence.stream import Window

from .adapt import Plain, Reader, readers
from .generate import write
from .metrics import Total
from .model import LanguageModel

SHOWN = 3
"""windows of an evaluation that the model continues, as samples to read"""
STRETCH = 2000
"""tokens per group in a text without documents: neighbouring windows are not independent"""


def step(model: LanguageModel, batch: Window, state: Any = None) -> Step:
    """The mean loss of a window, and the state after it.

    The loss is scaled by the size of the window relative to the usual one (as AWD-LSTM scales its learning rate).
    """
    loss, surprisal, state = model.loss(batch.tokens, batch.targets, state)
    scale = len(batch.tokens) / batch.usual if model.training else 1.0
    return Step(loss * scale, batch.targets.numel(), state, {"surprisal": surprisal.item()})


def evaluate(model: LanguageModel, batches: Iterable[Window]) -> Report:
    """Perplexity and bits per character over a stream, with the state carried from the first token to the last.

    Each method in `model.adaptation` is reported beside the plain figures, under its own name.
    """
    lengths = torch.tensor(model.tokeniser.lengths)
    plain = Plain(model)
    ways = [plain, *readers(model, model.adaptation)]
    sums = [Total() for _ in ways]
    records: list[dict[str, Any]] = []
    for number, window in enumerate(batches):
        targets = window.targets.flatten().tolist()
        found = [way.read(window) for way in ways]
        for total, surprisal in zip(sums, found, strict=True):
            total.nats += surprisal.sum().item()
            total.tokens += len(targets)
            total.characters += int(lengths[targets].sum())
        records.append(
            {
                "id": f"token {sums[0].tokens - len(targets):,}",
                "reference": model.tokeniser.decode(targets),
                "prediction": write(model, targets[-1:], plain.state, len(targets)) if number < SHOWN else "",
                "score": found[0].mean().item() / math.log(2),
                "tokens": len(targets),
                "characters": int(lengths[targets].sum()),
                "group": window.document or f"stretch {(sums[0].tokens - len(targets)) // STRETCH:,}",
                **{_column(way): own.sum().item() / math.log(2) for way, own in zip(ways, found, strict=True)},
            }
        )
    metrics = {k: v for way, total in zip(ways, sums, strict=True) for k, v in total.metrics(way.name).items()}
    means = {next(iter(Total().metrics(way.name))): Mean(_column(way), "characters") for way in ways}
    signature = f"ppl+bpc|units:{model.tokeniser.units}|state:carried|tokens:{sums[0].tokens}"
    return Report(metrics, records, signature, means)


def _column(way: Reader) -> str:
    """The column of a window's bits in the records."""
    return f"bits_{way.name}" if way.name else "bits"
