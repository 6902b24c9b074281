"""How much of a gradient is left after n steps: decay curves, reach, half-life, fitted rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEFT = 0.01
"""the fraction of the gradient at which its reach ends"""
FAINT = 1e-6
"""the fraction below which a lag is not used to fit the rate"""


@dataclass(frozen=True)
class Decay:
    """The gradient's norm at each lag, relative to lag 0.

    Attributes:
        left: [N], the fraction left at lag 0, 1, ..., N - 1; left[0] = 1. The mean over all errors that have this lag,
            divided by the mean of the same errors at lag 0.
        pairs: [N], the number of these errors.
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
        """The longest lag."""
        return len(self.left) - 1

    def reach(self, share: float = LEFT) -> tuple[float, bool]:
        """(the lag from which no more than this share is ever left, whether that happens within the given lags).

        Interpolated between two lags on the logarithmic scale; if it does not happen, the longest lag and False. The
        share must be below 1.
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
        """Sum of the fractions left over all lags: a tie-breaker between decays of equal reach."""
        return float(self.left.clamp(max=1e30).sum())

    def rate(self) -> float:
        """The factor per step of the best-fitting exponential from 1 (least squares on the log, weighted by pairs).

        It is fitted to the lags at which more than a millionth is left: less has no influence on training. If that is
        only lag 0, to all lags at which anything representable is left; NaN if that is only lag 0, too.
        """
        for floor in (FAINT, 0.0):
            usable = (self.left > floor) & self.left.isfinite()
            lag = torch.arange(len(self.left), dtype=torch.float64)[usable]
            if len(lag) > 1:
                weight = self.pairs[usable].double()
                log = self.left[usable].double().log()
                return math.exp(float((weight * lag * log).sum() / (weight * lag * lag).sum()))
        return math.nan
