"""Translating: which of all texts a model writes, for one sentence or for thousands."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unroll.errors import Notice, UserError
from unroll.sequence.batching import BucketSampler, pad
from unroll.sequence.decoding import Hypothesis, Sampling, beam_search, no_repeats, sample

from . import text
from .data import collate
from .model import Ensemble, Translator

Model = Translator | Ensemble
BUDGET = 20_000
"""source tokens times texts that are written at once"""


@dataclass(frozen=True)
class Decoding:
    """How a translation is chosen."""

    beam: int = 5
    """texts kept at each step; 1: the best token only"""
    length_penalty: float = 1.0
    """exponent of the length that log probabilities are divided by"""
    coverage_penalty: float = 0.0
    """weight of the penalty for parts of the source that were not looked at (Wu et al. 2016)"""
    n_best: int = 1
    """translations given for each sentence, at most `beam`"""
    no_repeat: int = 0
    """no n-gram of this length may occur twice in a translation; 0: no limit"""
    sampling: Sampling | None = None
    """draw translations, instead of searching for the best"""
    seed: int = 0
    """of what is drawn"""

    def __post_init__(self) -> None:
        if self.n_best > self.beam and self.sampling is None:
            raise UserError(f"decode.n_best={self.n_best}: is more than decode.beam={self.beam}; raise that as well")

    @property
    def signature(self) -> str:
        """For reports: how texts were chosen."""
        if self.sampling:
            return "sampled"
        found = f"beam{self.beam}|length:{self.length_penalty:g}|coverage:{self.coverage_penalty:g}"
        return found + (f"|no_repeat:{self.no_repeat}" if self.no_repeat else "")


GREEDY = Decoding(beam=1, length_penalty=0.0)


@torch.no_grad()
def decode(model: Model, source: Tensor, lengths: Tensor, decoding: Decoding) -> list[list[Hypothesis]]:
    """The translations of sentences [S, B], for each the best first. What is found does not depend on the others."""
    memory, state = model.begin(source, lengths)
    first = torch.full((source.shape[1],), model.end, device=source.device)
    longest = [2 * length + 10 for length in lengths.tolist()]

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        return model.advance(tokens, state, memory)

    def ending(state: Any) -> Tensor:
        return decoding.coverage_penalty * model.uncovered(state, memory)

    if decoding.sampling:
        generator = torch.Generator(source.device).manual_seed(decoding.seed)
        drawn = [_draw(step, first, state, longest, decoding.sampling, generator) for _ in range(decoding.n_best)]
        return [list(row) for row in zip(*drawn, strict=True)]
    return beam_search(
        step, first, state, width=decoding.beam, longest=longest, end=model.end,
        length_penalty=decoding.length_penalty, n_best=decoding.n_best,
        adjust=[no_repeats(decoding.no_repeat)] if decoding.no_repeat else [],
        ending=ending if decoding.coverage_penalty else None,
    )  # fmt: skip


def _draw(
    step: Any, first: Tensor, state: Any, longest: Sequence[int], sampling: Sampling, generator: torch.Generator
) -> list[Hypothesis]:
    """One drawn text for each row; its score is the log probability under the model as it is, unrestricted."""
    end = int(first[0]) if len(first) else 0
    total = torch.zeros(len(first), device=first.device)
    texts: list[list[int]] = [[] for _ in longest]
    open_rows, kept = set(range(len(longest))), [torch.empty(0)]

    def watched(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        kept[0], state = step(tokens, state)
        return kept[0], state

    for tokens in sample(watched, first, state, sampling, generator):
        gained = kept[0].gather(1, tokens[:, None])[:, 0]
        for row in list(open_rows):
            total[row] += gained[row]
            if tokens[row] == end or len(texts[row]) + 1 >= longest[row]:
                open_rows.discard(row)
            if tokens[row] != end:
                texts[row].append(int(tokens[row]))
        if not open_rows:
            break
    return [
        Hypothesis(tokens, log_prob, log_prob, ended=len(tokens) < limit)
        for tokens, log_prob, limit in zip(texts, total.tolist(), longest, strict=True)
    ]


def translate(
    model: Model, sentences: Sequence[str], decoding: Decoding | None = None
) -> list[list[tuple[str, float]]]:
    """Translations and their scores, for each sentence the best first; none for an empty one. Order is kept.

    Sentences longer than the model's `longest` are cut there, with one Notice that counts them.
    """
    decoding = decoding or model.decoding
    numbers = _encoded(model, sentences)
    found: list[list[tuple[str, float]]] = [[] for _ in sentences]
    for rows in _batches(list(map(len, numbers)), BUDGET // (decoding.beam or 1)):
        source, lengths = pad([torch.tensor(numbers[row]) for row in rows])
        device = next(model.parameters()).device
        for row, texts in zip(rows, decode(model, source.to(device), lengths, decoding), strict=True):
            found[row] = [(text.decode(model.target, h.tokens), h.score) for h in texts]
    return found


@torch.no_grad()
def forced(model: Model, pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, float]]]:
    """The pieces of each given translation, the end of the line last, and the log probability of each.

    A pair with an empty source sentence has none. Source sentences are cut as in `translate`.
    """
    sources = _encoded(model, [source for source, _ in pairs])
    targets = [text.encode(model.target, target) for _, target in pairs]
    found: list[list[tuple[str, float]]] = [[] for _ in pairs]
    lengths = [max(len(a), len(b) + 1) if a else 0 for a, b in zip(sources, targets, strict=True)]
    device = next(model.parameters()).device
    for rows in _batches(lengths, BUDGET):
        records = [
            {"id": "", "source": "", "target": "", "tokens_source": sources[row], "tokens_target": targets[row]}
            for row in rows
        ]
        batch = collate(records, model.end)
        log_probs = model.forced(*(x.to(device) for x in batch[:4])).T.tolist()
        for row, values in zip(rows, log_probs, strict=True):
            pieces = [model.target.decode([number]) for number in [*targets[row], model.end]]
            found[row] = list(zip(pieces, values, strict=False))
    return found


def _encoded(model: Model, sentences: Sequence[str]) -> list[list[int]]:
    numbers = [text.encode(model.source, sentence) for sentence in sentences]
    cut = sum(len(tokens) > model.longest for tokens in numbers)
    if cut:
        notice = f"{cut:,} of {len(numbers):,} sentences have more than {model.longest} tokens and are cut there"
        warnings.warn(Notice(notice), stacklevel=3)
    return [tokens[: model.longest] for tokens in numbers]


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of similar length; those of length zero are in none."""
    rows = [row for row, length in enumerate(lengths) if length]
    if rows:
        for batch in BucketSampler([lengths[row] for row in rows], budget, shuffle=False):
            yield [rows[index] for index in batch]
