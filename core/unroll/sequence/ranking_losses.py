"""Losses for ranking one target item above the others.

Each takes the scores of P predictions for C different candidate items and the column of each target. `times` says how
often each candidate was drawn: drawn twice it counts as two negatives, without being scored twice. A prediction's
target is never its own negative, however often it was drawn. All losses are means over the predictions.

Sources: Hidasi and Karatzoglou, Recurrent Neural Networks with Top-k Gains for Session-based Recommendations, 2018
(BPR-max: equations 11 and 12, TOP1-max: equation 10); Jean, Cho, Memisevic and Bengio, On Using Very Large Target
Vocabulary for Neural Machine Translation, 2015, and Yi and others, Sampling-Bias-Corrected Neural Modeling, 2019
(logQ).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax(scores: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy over all items: scores [P, N], target item [P]."""
    return F.cross_entropy(scores, wanted)


def sampled_softmax(scores: Tensor, own: Tensor, times: Tensor, log_counts: Tensor | None = None) -> Tensor:
    """Cross-entropy over candidates only.

    Args:
        scores: [P, C].
        own: column of the target, [P].
        times: how often each candidate was drawn, [C].
        log_counts: log of each candidate's expected number of draws, [C] (see `log_expected_counts`). Subtracting it
            (the logQ correction) makes the sum over candidates an unbiased estimate of the sum over all items, so that
            popular items, which are drawn more often, are not penalised more.
    """
    if log_counts is not None:
        scores = scores - log_counts
    wanted = scores.gather(1, own[:, None])
    return F.cross_entropy((scores + times.log()).scatter(1, own[:, None], wanted), own)


def log_expected_counts(log_popularity: Tensor, batch: int, log_sampled: Tensor, samples: int) -> Tensor:
    """log(batch p + samples q) of each candidate: its expected number of columns.

    Args:
        log_popularity: log p of each candidate, its frequency in the data, from which the batch's targets come, [C].
        batch: columns that are targets of the batch.
        log_sampled: log q of each candidate, its probability under the sampler, [C].
        samples: columns that were drawn.
    """
    from_batch = log_popularity + math.log(batch)
    return from_batch if samples == 0 else torch.logaddexp(from_batch, log_sampled + math.log(samples))


def bpr_max(scores: Tensor, own: Tensor, times: Tensor, penalty: float = 1.0) -> Tensor:
    """-log sum_j s_j sigmoid(r_i - r_j) + penalty sum_j s_j r_j^2, with s the softmax over the negatives j.

    Args:
        scores: r, [P, C].
        own: column i of the target, [P].
        times: how often each candidate was drawn, [C].
        penalty: weight of the term that keeps the scores of negatives near zero.
    """
    positive, log_weights = _against(scores, own, times)
    won = torch.logsumexp(log_weights + F.logsigmoid(positive - scores), 1)
    return (penalty * (log_weights.exp() * scores.square()).sum(1) - won).mean()


def top1_max(scores: Tensor, own: Tensor, times: Tensor) -> Tensor:
    """sum_j s_j (sigmoid(r_j - r_i) + sigmoid(r_j^2)), with s the softmax over the negatives j; arguments as above."""
    positive, log_weights = _against(scores, own, times)
    lost = torch.sigmoid(scores - positive) + torch.sigmoid(scores.square())
    return (log_weights.exp() * lost).sum(1).mean()


def _against(scores: Tensor, own: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(scores of the targets [P, 1], log of the softmax over the negatives [P, C])."""
    negatives = (scores + times.log()).scatter(1, own[:, None], -math.inf)
    return scores.gather(1, own[:, None]), negatives.log_softmax(1)
