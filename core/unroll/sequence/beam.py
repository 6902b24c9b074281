"""Batched beam search, with hooks that adjust scores, and diverse groups."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.state import reorder, select
from unroll.sequence.decoding import Hypothesis, Step

Adjust = Callable[[Tensor, Tensor], Tensor]
"""(log probabilities [R, V], tokens of each row so far [R, t]) -> log probabilities"""
Ending = Callable[[Any], Tensor]
"""(state after the step that ends a text) -> what is added to its score, [R], at most zero"""


def beam_search(
    step: Step,
    first: Tensor,
    state: Any,
    *,
    width: int,
    longest: int | Sequence[int],
    end: int | None,
    length_penalty: float = 0.0,
    n_best: int = 1,
    adjust: Sequence[Adjust] = (),
    ending: Ending | None = None,
    groups: int = 1,
    diversity: float = 0.0,
) -> list[list[Hypothesis]]:
    """Batched beam search: the most probable texts of each row, with `width` hypotheses kept at each step.

    A row is finished when no open hypothesis can overtake its `n_best` (or `width`, if that is more) finished ones, so
    its results do not depend on the other rows.

    With several groups it is diverse beam search (Vijayakumar et al. 2018): each group is a separate beam, which at
    each step avoids the tokens that the previous groups have just chosen. This affects which texts are kept; their
    scores are the model's.

    Args:
        step: the model; it is called with rows x width rows.
        first: the start token, [B].
        state: of the B rows.
        width: beam width, hypotheses kept per row.
        longest: most tokens of a text, including the end token; one number, or one per row.
        end: the end token; None: texts have exactly `longest` tokens.
        length_penalty: exponent of the length that log probabilities are divided by; 0: none, 1: the mean.
        n_best: texts returned per row, at most `width`.
        adjust: functions that change the log probabilities depending on the tokens so far, like `no_repeats(3)`.
        ending: added to the score of a text that ends, at most zero, for example a coverage penalty.
        groups: number of groups that the width is divided into.
        diversity: penalty of a token, in nats, for each hypothesis of earlier groups that has just chosen it.

    Returns:
        for each row at most `n_best` hypotheses, best first; with groups, the best of each group before any second one.

    Raises:
        ValueError: width or longest below one, n_best not between one and width, or groups that do not divide it.
    """
    limits = [longest] * len(first) if isinstance(longest, int) else list(longest)
    if width < 1 or any(limit < 1 for limit in limits) or len(limits) != len(first) or not 1 <= n_best <= width:
        raise ValueError(
            f"expected 1 <= n_best <= width and longest >= 1, one or one per row, got {n_best}, {width} and {longest}"
        )
    if groups < 1 or width % groups:
        raise ValueError(f"expected groups that divide the width of {width}, got {groups}")
    each = width // groups
    wanted = min(n_best, each)
    beams = [_Beam(limits, each, first.device, penalty=length_penalty, wanted=wanted) for _ in range(groups)]
    state = select(state, torch.arange(len(first), device=first.device).repeat_interleave(width))
    last = first.repeat_interleave(width)
    while any(None in beam.found for beam in beams):
        log_probs, state = step(last, state)
        extra = ending(state) if ending else None
        parents, last = _advance(beams, log_probs, end, extra, adjust=adjust, diversity=diversity)
        state = reorder(state, parents)
    return [_by_rank(found)[:n_best] for found in zip(*(beam.found for beam in beams), strict=True)]


def no_repeats(size: int) -> Adjust:
    """Forbids tokens that would repeat an n-gram of length `size`."""

    def adjust(log_probs: Tensor, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length < size:
            return log_probs
        grams = tokens.unfold(1, size, 1)  # [R, length - size + 1, size]
        same = (grams[:, :, :-1] == tokens[:, None, length - size + 1 :]).all(-1)
        row, place = same.nonzero(as_tuple=True)
        forbidden = log_probs.clone()
        forbidden[row, grams[row, place, -1]] = -math.inf
        return forbidden

    return adjust


def _advance(
    beams: Sequence["_Beam"],
    log_probs: Tensor,
    end: int | None,
    extra: Tensor | None,
    *,
    adjust: Sequence[Adjust],
    diversity: float,
) -> tuple[Tensor, Tensor]:
    """One step of all groups from log probabilities [B x groups x W, V]: parents and new tokens, in the same order."""
    rows = torch.arange(len(log_probs), device=log_probs.device).view(beams[0].rows, len(beams), -1)
    cost = log_probs.new_zeros(len(rows), log_probs.shape[1])
    parents, tokens = [], []
    for group, beam in enumerate(beams):
        own = rows[:, group].flatten()
        part = log_probs[own]
        for change in adjust:
            part = change(part, beam.tokens)
        parent, token = beam.advance(part, end, None if extra is None else extra[own], cost if group else None)
        token = token.view(len(rows), -1)
        cost = cost.scatter_add(1, token, diversity * beam.log_probs.isfinite())
        parents.append(own[parent].view_as(token))
        tokens.append(token)
    return torch.cat(parents, 1).flatten(), torch.cat(tokens, 1).flatten()


def _by_rank(groups: Iterable[Sequence[Hypothesis] | None]) -> list[Hypothesis]:
    """The results of one row's groups without duplicates: the best of each group before the second of any."""
    ranked = [(rank, -text.score, text) for found in groups for rank, text in enumerate(found or ())]
    ranked.sort(key=lambda entry: entry[:2])
    best: dict[tuple[int, ...], Hypothesis] = {}
    for *_, text in ranked:
        best.setdefault(tuple(text.tokens), text)
    return list(best.values())


class _Beam:
    """`width` open hypotheses for each of B rows, and the finished ones."""

    def __init__(
        self, longest: Sequence[int], width: int, device: torch.device, *, penalty: float, wanted: int
    ) -> None:
        self.rows = rows = len(longest)
        self.width, self.longest, self.penalty, self.wanted = width, longest, penalty, wanted
        self.tokens = torch.zeros(rows * width, 0, dtype=torch.int64, device=device)
        # All slots of the beam hold the same empty text: only one of them counts.
        self.log_probs = torch.full((rows, width), -math.inf, device=device)
        self.log_probs[:, 0] = 0
        self.finished: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.found: list[list[Hypothesis] | None] = [None] * rows
        """the best of each row, once they are final"""

    def advance(
        self, log_probs: Tensor, end: int | None, extra: Tensor | None, cost: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step from log probabilities [B x W, V]: for each open text, the slot it came from and its new token.

        `cost` [B, V] is subtracted only when choosing which texts to keep.
        """
        words = log_probs.shape[1]
        total = (self.log_probs[..., None] + log_probs.view(self.rows, self.width, words)).flatten(1)
        # Twice as many: at most `width` of them end, so at least `width` stay open.
        ranked = total if cost is None else total - cost.repeat(1, self.width)
        rank, place = ranked.topk(min(2 * self.width, total.shape[1]))
        best, token = total.gather(1, place), place % words
        ends = torch.zeros_like(token, dtype=torch.bool) if end is None else token == end
        self._collect(best, place // words, ends, extra)
        order = rank.masked_fill(ends, -math.inf).topk(self.width).indices
        self.log_probs = best.masked_fill(ends, -math.inf).gather(1, order)
        first = torch.arange(self.rows, device=place.device)[:, None] * self.width
        parents = (first + (place // words).gather(1, order)).flatten()
        chosen = token.gather(1, order).flatten()
        self.tokens = torch.cat((self.tokens[parents], chosen[:, None]), 1)
        self._judge()
        return parents, chosen

    def _collect(self, best: Tensor, origin: Tensor, ends: Tensor, extra: Tensor | None) -> None:
        """Keeps the texts that end here, if they are among the best `width`."""
        rows, ranks = (ends & best.isfinite())[:, : self.width].nonzero(as_tuple=True)
        for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True):
            if self.found[row] is None:
                place = row * self.width + int(origin[row, rank])
                more = 0.0 if extra is None else extra[place].item()
                text = self._hypothesis(self.tokens[place], best[row, rank].item(), ended=True, extra=more)
                self.finished[row].append(text)

    def _hypothesis(self, tokens: Tensor, log_prob: float, ended: bool, extra: float = 0.0) -> Hypothesis:
        score = self._score(log_prob, len(tokens) + ended) + extra
        return Hypothesis(tokens.tolist(), log_prob, score, ended)

    def _score(self, log_prob: float, length: int) -> float:
        return float(log_prob / length**self.penalty)

    def _judge(self) -> None:
        """Finishes rows whose best texts cannot be overtaken: more tokens cost probability, but divide it by more."""
        best_open = self.log_probs.max(1).values.tolist()
        for row, finished in enumerate(self.finished):
            if self.found[row] is None and self._is_done(row, finished, best_open[row]):
                self.found[row] = self._ranked(row)

    def _is_done(self, row: int, finished: list[Hypothesis], best_open: float) -> bool:
        if self.tokens.shape[1] >= self.longest[row] or best_open == -math.inf:
            return True
        if len(finished) < self.wanted:
            return False
        worst = sorted((h.score for h in finished), reverse=True)[self.wanted - 1]
        return worst >= self._score(best_open, self.longest[row])

    def _ranked(self, row: int) -> list[Hypothesis]:
        """The best of a row; if too few have ended, followed by open ones."""
        ranked = sorted(self.finished[row], key=lambda h: -h.score)
        places = range(row * self.width, (row + 1) * self.width)
        open_ones = [
            self._hypothesis(self.tokens[place], log_prob, ended=False)
            for place, log_prob in zip(places, self.log_probs[row].tolist(), strict=True)
            if log_prob > -math.inf
        ]
        return [*ranked, *open_ones][: self.wanted]
