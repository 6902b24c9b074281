"""Recommendations for a history, with the clicks that contributed most."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .inputs import Input, Session
from .model import Recommender

EXPLAINED = 50
"""number of recent clicks that are considered as explanations"""
REASONS = 3
"""number of clicks named as explanations"""


def predict(model: Recommender, inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """Recommendations for each history.

    Args:
        model: trained.
        inputs: names or titles separated by commas, a list of them, or {"session": ..., "history": ...}.

    Raises:
        UserError: no item of a history is known.
    """
    return [_recommended(model, given) for given in inputs]


@torch.no_grad()
def _recommended(model: Recommender, given: Input) -> dict[str, Any]:
    named: Session = given if isinstance(given, dict) else {"history": given}
    clicks = model.catalogue.parse(named["history"])
    whole, without = _log_probabilities(model, clicks)
    best = whole.topk(min(model.decoding.k, len(whole))).indices.tolist()
    titles = model.catalogue.titles
    return {
        **({"session": named["session"]} if "session" in named else {}),
        "history": [titles[item] for item in clicks],
        "recommended": [
            {**item(model, number, whole), "because": _because(model, clicks, whole[number] - without[:, number])}
            for number in best
            if whole[number] > -math.inf
        ],
    }


def item(model: Recommender, number: int, log_probabilities: Tensor) -> dict[str, Any]:
    """An item in an output: name, title, probability."""
    probability = round(log_probabilities[number].exp().item(), 6)
    return {"item": model.catalogue.names[number], "title": model.catalogue.titles[number], "probability": probability}


def _log_probabilities(model: Recommender, clicks: list[int]) -> tuple[Tensor, Tensor]:
    """log p of all items after the clicks, [N], and after the clicks without each of the most recent ones, [n, N]."""
    device = model.output.own.device
    left_out = range(max(0, len(clicks) - EXPLAINED), len(clicks))
    rows = [clicks, *([click for i, click in enumerate(clicks) if i != out] for out in left_out)]
    items = torch.tensor([row + [0] * (len(clicks) - len(row)) for row in rows], device=device).T
    lengths = torch.tensor([len(row) for row in rows])
    hidden, _ = model(items, lengths=lengths)
    last = hidden[(lengths - 1).clamp(min=0).to(device), torch.arange(len(rows), device=device)]
    seen = torch.tensor(clicks, device=device).expand(len(rows), -1)
    scores = model.scores(last, seen).log_softmax(-1)
    if len(clicks) == 1:  # without its only click the history is empty: popularity
        counts = torch.from_numpy(model.catalogue.counts).to(scores)
        scores[1] = ((counts + 1) / (counts + 1).sum()).log()
    return scores[0], scores[1:]


def _because(model: Recommender, clicks: list[int], gains: Tensor) -> list[dict[str, Any]]:
    """The clicks that raised the probability of the item most, and by what factor."""
    latest = clicks[-len(gains) :]
    order = gains.argsort(descending=True)[:REASONS].tolist()
    return [
        {"click": model.catalogue.titles[latest[i]], "times": round(gains[i].exp().item(), 3)}
        for i in order
        if gains[i] > 0
    ]
