"""Several trained models that write one text together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.sequence.decoding import mean_probability

from .model import Translator


class Ensemble(nn.Module):
    """Several models that write one text together, by the mean of their probabilities."""

    def __init__(self, models: Sequence[Translator]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        first = models[0]
        self.source, self.target, self.languages = first.source, first.target, first.languages
        self.end, self.longest = first.end, min(model.longest for model in models)
        self.decoding, self.headline = first.decoding, first.headline

    def begin(self, source: Tensor, lengths: Tensor) -> tuple[Any, Any]:
        """As `Translator.begin`; memory and state are tuples with one entry per model."""
        memories, states = zip(*(model.begin(source, lengths) for model in self._members()), strict=True)
        return memories, states

    def advance(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        """As `Translator.advance`."""
        parts = [m.advance(tokens, s, k) for m, s, k in zip(self._members(), state, memory, strict=True)]
        log_probs, states = zip(*parts, strict=True)
        return mean_probability(log_probs), states

    def forced(self, *batch: Tensor) -> Tensor:
        """As `Translator.forced`."""
        return mean_probability([model.forced(*batch) for model in self._members()])

    def uncovered(self, state: Any, memory: Any) -> Tensor:
        """The mean of `Translator.uncovered`."""
        parts = [m.uncovered(s, k) for m, s, k in zip(self._members(), state, memory, strict=True)]
        return torch.stack(parts).mean(0)

    def _members(self) -> list[Translator]:
        return [model for model in self.models if isinstance(model, Translator)]


def ensemble(models: Sequence[Translator]) -> Ensemble:
    """One model for decoding, scoring and predicting.

    Raises:
        UserError: no models, or models of different languages or tokenisers.
    """
    if not models:
        raise UserError("an ensemble needs at least one run")
    first = models[0]
    for model in models[1:]:
        if model.languages != first.languages:
            pairs = [" to ".join(one.languages) for one in (first, model)]
            raise UserError(f"one run translates {pairs[0]}, another {pairs[1]}; an ensemble needs one pair")
        if (model.source, model.target) != (first.source, first.target):
            raise UserError("these runs cut sentences up differently; train them on the same prepared data")
    return Ensemble(models)
