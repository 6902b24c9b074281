"""The losses by name, over all items or over candidates: the next items of the batch and sampled ones."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.sequence import ranking_losses
from unroll.sequence.sampling import PopularitySampler

from .items import ItemVectors

Loss = Literal["softmax", "sampled-softmax", "bpr-max", "top1-max"]


class Objective(nn.Module):
    """The training loss.

    Args:
        name: "softmax" scores all items; the others only candidates, the next items of all rows of the batch and
            `samples` sampled ones (see `unroll.sequence.ranking_losses`).
        counts: clicks of each item in training, [N].
        samples: number of items sampled per batch.
        alpha: items are sampled with probability proportional to clicks ** alpha.
        logq: sampled-softmax: correct the scores for how often an item is a candidate.
        penalty: bpr-max: weight of the squared scores of negatives.
        elu: bpr-max, top1-max: alpha of an ELU on the scores; 0: none.
    """

    def __init__(
        self,
        counts: Tensor,
        *,
        name: Loss = "softmax",
        samples: int = 2048,
        alpha: float = 0.5,
        logq: bool = True,
        penalty: float = 1.0,
        elu: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.samples, self.logq, self.penalty, self.elu = name, samples, logq, penalty, elu
        self.sampler = PopularitySampler(counts, alpha)
        self.popularity = PopularitySampler(counts, 1.0)

    def forward(self, output: ItemVectors, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of P predictions: hidden [P, D], next items [P]."""
        if self.name == "softmax":
            return ranking_losses.softmax(output.scores(hidden), targets)
        drawn = torch.cat((targets, self.sampler(self.samples)))
        candidates, column, times = drawn.unique(return_inverse=True, return_counts=True)
        own, scores = column[: len(targets)], output.scores(hidden, candidates)
        if self.name == "sampled-softmax":
            expected = self._log_expected(candidates, len(targets)) if self.logq else None
            return ranking_losses.sampled_softmax(scores, own, times, expected)
        scores = F.elu(scores, self.elu) if self.elu else scores
        if self.name == "bpr-max":
            return ranking_losses.bpr_max(scores, own, times, self.penalty)
        return ranking_losses.top1_max(scores, own, times)

    def _log_expected(self, candidates: Tensor, batch: int) -> Tensor:
        popularity, drawn = (source.log_probability[candidates] for source in (self.popularity, self.sampler))
        return ranking_losses.log_expected_counts(popularity, batch, drawn, self.samples)
