"""Decoding from a step function: sampling with restrictions, and stop strings; beam search is in `beam`.

The model is only a step function: `(tokens [R], state) -> (log probabilities [R, V], state)`. The state is any nesting
of tensors with the rows in dim 1, as everywhere (`unroll.recurrence.state`): a language model's hidden state, or a
decoder's together with the encoder's memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


@dataclass(frozen=True)
class Sampling:
    """Restrictions on sampling, applied in this order; the defaults restrict nothing.

    Raises:
        ValueError: a value out of range; the message names it.
    """

    repetition_penalty: float = 1.0
    """divides the probability of tokens that have occurred before; at least 1"""
    temperature: float = 1.0
    """p^(1/temperature); above 0"""
    top_k: int = 0
    """top-k: only the k most probable tokens; 0: all"""
    top_p: float = 1.0
    """top-p: only the most probable tokens that together have this probability (Holtzman et al. 2020)"""
    min_p: float = 0.0
    """min-p: only tokens at least this fraction as probable as the most probable one (Nguyen et al. 2024)"""

    def __post_init__(self) -> None:
        ranges = {
            "temperature": self.temperature > 0, "top_k": self.top_k >= 0, "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p < 1, "repetition_penalty": self.repetition_penalty >= 1,
        }  # fmt: skip
        for name, good in ranges.items():
            if not good:
                hint = "; for the most probable token set top_k=1" if name == "temperature" else ""
                raise ValueError(f"{name}={getattr(self, name)} is out of range{hint}")


def restrict(log_probs: Tensor, sampling: Sampling, seen: Tensor | None = None) -> Tensor:
    """Log probabilities [R, V] under the restrictions, renormalised; excluded tokens have -inf.

    Args:
        log_probs: normalised.
        sampling: the restrictions.
        seen: bool [R, V], tokens that the repetition penalty applies to.
    """
    if seen is not None and sampling.repetition_penalty > 1:
        log_probs = log_probs - seen * math.log(sampling.repetition_penalty)
    if sampling.temperature != 1:
        log_probs = log_probs / sampling.temperature
    if sampling.top_k:
        smallest = log_probs.topk(min(sampling.top_k, log_probs.shape[-1])).values[..., -1:]
        log_probs = log_probs.masked_fill(log_probs < smallest, -math.inf)
    if sampling.top_p < 1:
        falling, order = log_probs.log_softmax(-1).sort(descending=True)
        before = falling.exp().cumsum(-1) - falling.exp()  # of all more probable tokens
        beyond = (before >= sampling.top_p).scatter(-1, order, before >= sampling.top_p)
        log_probs = log_probs.masked_fill(beyond, -math.inf)
    if sampling.min_p > 0:
        least = log_probs.max(-1, keepdim=True).values + math.log(sampling.min_p)
        log_probs = log_probs.masked_fill(log_probs < least, -math.inf)
    return log_probs.log_softmax(-1)


@dataclass(frozen=True)
class Hypothesis:
    """A text that was sampled, or found by beam search."""

    tokens: list[int]
    """without the end token"""
    log_prob: float
    """of all tokens, including the end token, under the model without restrictions"""
    score: float
    """sampled: log_prob. Beam search: log_prob divided by the length to the power of the length penalty, plus `ending`;
    hypotheses are ranked by it"""
    ended: bool
    """whether it ended by itself; False: it was cut at the maximum length"""


def sample(
    step: Step,
    last: Tensor,
    state: Any,
    sampling: Sampling,
    generator: torch.Generator | None = None,
    seen: Iterable[int] = (),
) -> Iterator[Tensor]:
    """Samples indefinitely: yields the next token of each row, [R], at constant cost per token.

    Args:
        step: the model.
        last: the last token of each row, which the model has not read yet, [R].
        state: the state after all tokens before the last.
        sampling: the restrictions.
        generator: random number generator, on the device of the log probabilities.
        seen: tokens that have occurred before, for the repetition penalty.
    """
    mask: Tensor | None = None
    while True:
        log_probs, state = step(last, state)
        if sampling.repetition_penalty > 1:
            if mask is None:
                mask = torch.zeros_like(log_probs, dtype=torch.bool)
                mask[:, list(seen)] = True
            mask.scatter_(1, last[:, None], True)
        last = _draw(restrict(log_probs, sampling, mask).exp(), generator)
        yield last


def _draw(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """One token of each row [R, V]. torch.multinomial would draw a random number per word instead of one per row."""
    summed = probabilities.double().cumsum(-1)
    at = torch.rand(len(summed), 1, dtype=summed.dtype, device=summed.device, generator=generator)
    return torch.searchsorted(summed, at * summed[:, -1:], right=True)[:, 0].clamp(max=summed.shape[1] - 1)


@torch.no_grad()
def sample_texts(
    step: Step,
    first: Tensor,
    state: Any,
    sampling: Sampling,
    *,
    longest: int | Sequence[int],
    end: int,
    generator: torch.Generator | None = None,
) -> list[Hypothesis]:
    """Samples one complete text per row.

    Args:
        step: the model.
        first: the start token, [R].
        state: of the R rows.
        sampling: the restrictions.
        longest: most tokens of a text, including the end token; one number, or one per row.
        end: the end token.
        generator: see `sample`.
    """
    limits = [longest] * len(first) if isinstance(longest, int) else list(longest)
    unfinished, limit = torch.ones_like(first, dtype=torch.bool), torch.tensor(limits, device=first.device)
    total, steps = torch.zeros(len(first), device=first.device), list[Tensor]()
    latest = [torch.empty(0)]

    def observed(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        latest[0], state = step(tokens, state)
        return latest[0], state

    for tokens in islice(sample(observed, first, state, sampling, generator), max(limits, default=0)):
        total += latest[0].gather(1, tokens[:, None])[:, 0].masked_fill(~unfinished, 0)
        steps.append(tokens.masked_fill(~unfinished, end))
        unfinished &= (tokens != end) & (limit > len(steps))
        if not unfinished.any():
            break
    rows = torch.stack(steps, 1).tolist() if steps else []
    texts = [list(takewhile(lambda token: token != end, row)) for row in rows]
    return [
        Hypothesis(text, log_prob, log_prob, ended=len(text) < most)
        for text, log_prob, most in zip(texts, total.tolist(), limits, strict=True)
    ]


def mean_probability(log_probs: Sequence[Tensor]) -> Tensor:
    """Log of the mean of several models' probabilities: an ensemble's prediction."""
    return torch.stack(list(log_probs)).logsumexp(0) - math.log(len(log_probs))


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """The pieces of a text up to the first stop string, each as soon as it cannot be part of a stop string."""
    stops = [stop for stop in stops if stop]
    held = ""
    for piece in pieces:
        held += piece
        ends = [at for stop in stops if (at := held.find(stop)) >= 0]
        if ends:
            yield held[: min(ends)]
            return
        keep = max((_overlap(held, stop) for stop in stops), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
