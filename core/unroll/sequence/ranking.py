"""Full ranking: the rank of the target item among all items, and metrics of these ranks.

Ties count against the model: items that score as high as the target rank before it, so a model that gives all items
the same score is last, not first. A NaN score counts against the model too.

Source of the metrics: Jarvelin and Kekalainen, Cumulated Gain-based Evaluation of IR Techniques, 2002 (NDCG; with a
single target it is 1 / log2(1 + rank)).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BUDGET = 64 * 2**20
"""bytes of scores held at a time; including derived arrays, about four times as much"""


@dataclass(frozen=True)
class Ranking:
    """The ranks of P target items among N."""

    ranks: Tensor
    """[P] int64, from 1"""
    top: Tensor
    """the items with the highest scores, best first, [P, K]"""
    sampled: Tensor
    """[P] int64: the rank among the target and M items drawn uniformly; zeros if M is 0. These ranks are far better
    than those among all items, and not comparable with them or with those of another M"""


def rank(
    score: Callable[[slice], Tensor], targets: Tensor, *, k: int, sampled: int = 0, budget: int = BUDGET
) -> Ranking:
    """Rank the target item of every prediction among all items, a few predictions at a time.

    Args:
        score: a slice of predictions -> their scores for all items, [p, N].
        targets: the target item of each prediction, [P].
        k: how many of the best items to keep, at most N.
        sampled: M of `Ranking.sampled`; the same draws each time.
        budget: most bytes of scores held at a time; a single row is always allowed.
    """
    ranks, tops, small = [], [], []
    generator = torch.Generator().manual_seed(0)
    step, start = 1, 0
    while start < len(targets):
        part = slice(start, start + step)
        scores, wanted = score(part), targets[part, None]
        own = scores.gather(1, wanted)
        ranks.append((~(scores < own)).sum(1))
        tops.append(scores.topk(min(k, scores.shape[1])).indices)
        others = torch.randint(scores.shape[1], (len(scores), sampled), generator=generator).to(scores.device)
        # If the target is drawn again, it does not compete with itself.
        small.append((~(scores.gather(1, others) < own) & (others != wanted)).sum(1) + bool(sampled))
        start += len(scores)
        step = max(1, budget // (scores.shape[1] * scores.element_size()))
    return Ranking(torch.cat(ranks), torch.cat(tops), torch.cat(small))


def recall(ranks: Tensor, k: int) -> Tensor:
    """Whether each target is among the first k, [P] of 0 or 1; their mean is recall@k (also called HR@k)."""
    return (ranks <= k).double()


def reciprocal(ranks: Tensor, k: int) -> Tensor:
    """1 / rank, or 0 beyond rank k, [P]; their mean is MRR@k."""
    return torch.where(ranks <= k, 1 / ranks.double(), 0)


def gain(ranks: Tensor, k: int) -> Tensor:
    """1 / log2(1 + rank), or 0 beyond rank k, [P]; their mean is NDCG@k."""
    return torch.where(ranks <= k, 1 / torch.log2(1 + ranks.double()), 0)
