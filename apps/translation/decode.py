"""Decoding: translations of one sentence or of thousands, and scores of given translations."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unroll.errors import Notice
from unroll.sequence.batching import BucketSampler, pad
from unroll.sequence.beam import beam_search, no_repeats
from unroll.sequence.decoding import Hypothesis, sample_texts

from . import text
from .data import collate
from .ensemble import Ensemble
from .model import Translator
from .options import Decoding

Model = Translator | Ensemble
BUDGET = 20_000
"""source tokens times hypotheses per batch"""


@torch.no_grad()
def decode(model: Model, source: Tensor, lengths: Tensor, decoding: Decoding) -> list[list[Hypothesis]]:
    """Translations of sentences [S, B], for each the best first; they do not depend on the rest of the batch."""
    memory, state = model.begin(source, lengths)
    first = torch.full((source.shape[1],), model.end, device=source.device)
    longest = [2 * length + 10 for length in lengths.tolist()]

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        return model.advance(tokens, state, memory)

    def ending(state: Any) -> Tensor:
        return decoding.coverage_penalty * model.uncovered(state, memory)

    if decoding.sampling:
        generator = torch.Generator(source.device).manual_seed(decoding.seed)
        drawn = [
            sample_texts(step, first, state, decoding.sampling, longest=longest, end=model.end, generator=generator)
            for _ in range(decoding.n_best)
        ]
        return [list(row) for row in zip(*drawn, strict=True)]
    return beam_search(
        step, first, state, width=decoding.beam, longest=longest, end=model.end,
        length_penalty=decoding.length_penalty, n_best=decoding.n_best,
        adjust=[no_repeats(decoding.no_repeat)] if decoding.no_repeat else [],
        ending=ending if decoding.coverage_penalty else None,
    )  # fmt: skip


def predict(model: Model, inputs: Sequence[str]) -> list[Any]:
    """One translation per sentence, in order; an empty one stays empty.

    With decode.n_best above one, a list of translations per sentence, each with its score.
    """
    found = translate(model, list(inputs))
    if model.decoding.n_best == 1:
        return [texts[0][0] if texts else "" for texts in found]
    return [[{"text": words, "score": round(score, 3)} for words, score in texts] for texts in found]


def translate(
    model: Model, sentences: Sequence[str], decoding: Decoding | None = None
) -> list[list[tuple[str, float]]]:
    """Translations and their scores, for each sentence in order, the best first; none for an empty sentence.

    Sentences longer than the model's `longest` are truncated, with one Notice that counts them.
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
    """The tokens of each given translation, the end of line included, with their log probabilities.

    A pair with an empty source sentence has none. Source sentences are truncated as in `translate`.
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
    """Batches of rows of similar length, without those of length zero."""
    rows = [row for row, length in enumerate(lengths) if length]
    if rows:
        for batch in BucketSampler([lengths[row] for row in rows], budget, shuffle=False):
            yield [rows[index] for index in batch]
