"""What is left of a gradient after n steps: decay curves, reach, half-life, fitted rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEFT = 0.01
"""the share of the gradient at which its reach ends"""
FAINT = 1e-6
"""the share below which a rate is not fitted"""


@dataclass(frozen=True)
class Decay:
    """The gradient's norm at each lag, relative to lag 0.

    Attributes:
        left: [N], what is left at lag 0, 1, ..., N - 1; left[0] = 1. The mean over all errors that have this lag,
            over the mean of the same ones at lag 0.
        pairs: [N], how many errors these are.
    """

    left: Tensor
    pairs: Tensor

    @staticmethod
    def of(norms: Tensor) -> Decay:
        """From norms [N, R] by lag, NaN where an error has no such lag."""
        seen = ~norms.isnan()
        here = torch.nan_to_num(norms, nan=0.0, posinf=math.inf).sum(1)
        now = torch.where(seen, norms[0], 0.0).sum(1)
        pairs = seen.sum(1)
        many = int((pairs > 0).sum())
        return Decay((here / now.clamp(min=torch.finfo(now.dtype).tiny))[:many], pairs[:many])

    @property
    def lags(self) -> int:
        """The longest lag that there is."""
        return len(self.left) - 1

    def reach(self, share: float = LEFT) -> tuple[float, bool]:
        """(lags until no more than this share is left for good, whether that happens within the lags there are).

        Interpolated between two lags on the logarithmic scale; where it does not happen, all lags, and False. The share
        is below 1.
        """
        above = (self.left > share).nonzero().flatten()
        last = int(above[-1]) if len(above) else 0
        if last == self.lags:
            return float(last), False
        high, low = float(self.left[last]), float(self.left[last + 1])
        if low <= 0 or not math.isfinite(high):
            return float(last + 1), True
        return last + math.log(high / share) / math.log(high / low), True

    def half_life(self) -> tuple[float, bool]:
        """`reach(0.5)`."""
        return self.reach(0.5)

    @property
    def area(self) -> float:
        """Sum of what is left over all lags: a tie-breaker between decays of equal reach."""
        return float(self.left.clamp(max=1e30).sum())

    def rate(self) -> float:
        """The factor a step of the exponential from 1 that fits best (least squares on the logarithm, by pairs).

        Over the lags at which more than a millionth is left: what lies below weighs on no training. Where that is lag 0
        alone, over all lags at which anything representable is left; NaN where that is lag 0 alone, too.
        """
        for floor in (FAINT, 0.0):
            usable = (self.left > floor) & self.left.isfinite()
            lag = torch.arange(len(self.left), dtype=torch.float64)[usable]
            if len(lag) > 1:
                weight = self.pairs[usable].double()
                log = self.left[usable].double().log()
                return math.exp(float((weight * lag * log).sum() / (weight * lag * lag).sum()))
        return math.nan
