"""Is the difference between two groups of runs significant? A test and an interval over examples and seeds at once.

The scores of a group are y[s, i], seed s on unit i, the same units for everyone. A unit is a test example, or all
examples of one speaker, user or document (`units`), which are no independent draws. Two things are drawn at random, and
a claim about a model must hold for other draws of both: the seed (weights, data order) and the units. A test over
examples alone takes the luck of one training for a property of the model, and one that takes a speaker's utterances for
independent counts each speaker many times (`benchmarks/false_alarms.py` measures both).

    y[s, i] = mean + seed[s] + unit[i] + (model x unit)[i] + rest[s, i]
    Var(difference) = Var(run means of a) / seeds + Var(run means of b) / seeds + Var(model x unit) / units

These are the components of multi-reader multi-case studies (Obuchowski and Rockette 1995; Hillis 2014: readers nested
in treatments); our readers are seeds. The difference over its standard error is held against Student's t with the
degrees of freedom of Satterthwaite (1946): Welch's test (1947), with a third part for the units. Each group has a
variance of its own. Units of unequal size bring fewer degrees of freedom (Bell and McCaffrey 2002).

Satterthwaite's formula believes the parts as they are estimated. A part known from two or three seeds is, more often
than not, estimated too small; when it is the one that matters, too many degrees of freedom follow, and up to 8 % false
alarms. So the formula gets each part as large as it may well be: see UNDER. Where all parts are known equally well this
is Welch's test to the digit. Interval and p-value come from the same distribution and never contradict each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]

LEVEL = 0.95
UNDER = 0.2
"""Each part of the variance enters the degrees of freedom as if its estimate lay at this quantile of its distribution.
Found by simulation: the largest, to a tenth, with at most 6 % false alarms from three seeds on, for spreads up to 1:10
and any share of the units in the variance; .5 gives 7.0 %, the plain formula 7.8 %."""
UNDER_OF_TWO = 0.1
"""likewise of what is known from two seeds, which .2 would give 6.3 % beside five"""
FEW = 3
"""Degrees of freedom of the units at which nothing is taken off their variance, though some of it is that of the seeds;
twice as many: half of it. Without, four speakers give up to 6.8 % false alarms."""
POWER = 0.8
FEWEST_SEEDS = 3
"""of which a spread can be told at all; fewer are never said to be enough"""
MOST_SEEDS = 1000
PLAUSIBLE = 0.8
"""probability of the range that is given for the number of seeds needed"""
POINTS = 1024
"""at which the distribution of the estimated variances is integrated"""


@dataclass(frozen=True)
class Spread:
    """Random variation of a difference, by component.

    Attributes:
        seeds: standard deviation between the runs of each of the two groups.
        counts: seeds of each.
        examples: variance of the difference that comes from the choice of units, whatever the number of seeds.
        rest: what the variance between units has to be lessened by to give that: of it, what the seeds do on each unit.
        freedom: degrees of freedom with which the variance between units is known.
    """

    seeds: tuple[float, float]
    counts: tuple[int, int]
    examples: float
    rest: float = 0.0
    freedom: float = 1000.0

    @property
    def parts(self) -> Array:
        """Variances of the difference as they are measured: between the runs of each group, and between units."""
        (a, b), (n, m) = self.seeds, self.counts
        return np.array([a**2 / n, b**2 / m, self.examples + self.rest])

    @property
    def freedoms(self) -> Array:
        """Degrees of freedom of each part."""
        return np.array([self.counts[0] - 1, self.counts[1] - 1, self.freedom])

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(_variance(self.parts, self.rest))

    def of(self, count: int, scale: float = 1.0) -> "Spread":
        """The same with other numbers of seeds, and `scale` times the spread over seeds."""
        a, b = self.seeds
        rest = self.rest * scale**2 * 2 / count / sum(1 / n for n in self.counts)
        return Spread((a * scale, b * scale), (count, count), self.examples, rest, self.freedom)


@dataclass(frozen=True)
class Needed:
    """Seeds per group needed to detect a difference with 80 % power."""

    likely: int
    """by the spread as it was measured"""
    low: int
    """if seeds spread as little as they plausibly do"""
    high: int | None
    """if as much; None where even a thousand would not do"""

    def __str__(self) -> str:
        """For people."""
        if self.high is None:
            return f"{self.low} or more"
        return f"{self.low} to {self.high}" if self.low < self.high else str(self.low)


@dataclass(frozen=True)
class Difference:
    """Estimate, interval and test of mean(a) - mean(b). What cannot be known from one seed is None."""

    value: float
    low: float | None = None
    """of the 95 % interval"""
    high: float | None = None
    p: float | None = None
    effect: float | None = None
    """in standard deviations between seeds: Hedges' g, with the mean of the two groups' variances"""
    spread: Spread | None = None

    @property
    def needed(self) -> Needed | None:
        """Seeds per group needed to detect a difference of this size with 80 % power."""
        return needed(self.value, self.spread) if self.spread else None


def difference(a: Array, b: Array, shares: Array | None = None) -> Difference:
    """Compare two groups of runs on the same units.

    Args:
        a, b: scores [seeds, units], the units in the same order; [seeds, 1] where only whole runs have a score.
        shares: of each unit in the whole, [units], summing to one; None: all alike.
    """
    value = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Difference(value)
    spread = _spread(a, b, shares)
    if spread.error <= 1e-12 * (1 + abs(value)):  # nothing varies: that tells nothing about how much it would
        return Difference(value)
    freedom = float(_freedom(spread.parts, spread.freedoms, spread.rest))
    wide = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * spread.error
    p = float(2 * special.stdtr(freedom, -abs(value) / spread.error))
    return Difference(value, value - wide, value + wide, p, _hedges(value, spread), spread)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p-values: below 5 % for any true null hypothesis of the family in 5 % of families."""
    order = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = adjusted[place] = max(largest, min(1.0, value * (len(order) - rank)))
    return adjusted


def power(value: float, spread: Spread) -> float:
    """Power at the 5 % level for a true difference of `value`, with normal seeds; `spread` is the true one.

    The estimated variances are chi-squared; given these, the difference is normal.
    """
    if spread.error == 0:
        return float(value != 0)
    freedoms = spread.freedoms
    drawn = spread.parts * special.chdtri(freedoms, _points()) / freedoms
    wide = special.stdtrit(_freedom(drawn, freedoms, spread.rest), (1 + LEVEL) / 2)
    limits = wide * np.sqrt(_variance(drawn, spread.rest)) / spread.error
    errors = abs(value) / spread.error
    return float((special.ndtr(errors - limits) + special.ndtr(-limits - errors)).mean())


def seeds_needed(value: float, spread: Spread) -> int | None:
    """Seeds in each of the groups, three at least, with which a true difference of `value` is found with 80 %
    probability by the very test that `difference` is; `spread` is the true one.

    None where even a thousand would not do, because the examples are too few or the difference is nothing.
    """

    def enough(count: int) -> bool:
        return power(value, spread.of(count)) >= POWER

    if not enough(MOST_SEEDS):
        return None
    low, high = FEWEST_SEEDS - 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def needed(value: float, spread: Spread, freedom: float | None = None) -> Needed | None:
    """`seeds_needed`, with the range that follows from how little a few seeds tell about their spread.

    Args:
        value: the difference to be found.
        spread: as estimated.
        freedom: degrees of freedom with which the seeds' deviations are known; None: those of the spread's counts.
    """
    likely = seeds_needed(value, spread)
    if likely is None:
        return None
    if freedom is None:
        seeds = spread.parts[:2]
        freedom = float(seeds.sum() ** 2 / (seeds**2 / spread.freedoms[:2]).sum()) if seeds.any() else math.inf
    if math.isinf(freedom):
        return Needed(likely, likely, likely)
    bounds = freedom / special.chdtri(freedom, [(1 - PLAUSIBLE) / 2, (1 + PLAUSIBLE) / 2])
    low, high = (seeds_needed(value, spread.of(spread.counts[0], scale)) for scale in map(float, np.sqrt(bounds)))
    return Needed(likely, low or likely, high)


def units(numerators: Array, weights: Array, groups: NDArray[np.int64] | None = None) -> tuple[Array, Array]:
    """(scores per unit [runs, U], shares of the units [U]) of a ratio of sums: word errors and words, nats and tokens.

    A run's scores have sum(numerators) / sum(weights) as their mean, and, to first order, its variance (the delta
    method).

    Args:
        numerators, weights: of each example, [runs, examples].
        groups: number of each example's group, [examples]; None: each example is a unit.
    """
    if groups is not None:
        numerators, weights = _summed(numerators, groups), _summed(weights, groups)
    total = weights.sum(1, keepdims=True)
    ratio = numerators.sum(1, keepdims=True) / total
    scores: Array = ratio + (numerators - ratio * weights) * weights.shape[1] / total
    return scores, (weights / total).mean(0)


def _summed(values: Array, groups: NDArray[np.int64]) -> Array:
    """Over each group's examples: [runs, examples] to [runs, groups]."""
    sums: Array = np.stack([np.bincount(groups, row) for row in values])
    return sums


def _spread(a: Array, b: Array, shares: Array | None) -> Spread:
    """The components of the variance."""
    profile = a.mean(0) - b.mean(0)
    deviations = float(a.mean(1).std(ddof=1)), float(b.mean(1).std(ddof=1))
    if len(profile) == 1:
        return Spread(deviations, (len(a), len(b)), 0.0)
    factor, freedom = _of_unequal(np.full(len(profile), 1 / len(profile)) if shares is None else shares)
    # The rest is in both, the variance between seeds and that between units, and must be counted once.
    # Taken off the variance between very few units it would leave too little of it, and that too often: see FEW.
    rest = max(0.0, 1 - FEW / freedom) * factor * sum(_rest(group) / len(group) for group in (a, b)) / len(profile) ** 2
    whole = factor * float(((profile - profile.mean()) ** 2).sum()) / len(profile) ** 2
    return Spread(deviations, (len(a), len(b)), whole - rest, rest, freedom)


def _rest(scores: Array) -> float:
    """Sum over units of the variance that neither the seed nor the unit explains."""
    rest = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    return float((rest**2).sum() / (len(scores) - 1))


def _of_unequal(shares: Array) -> tuple[float, float]:
    """(what squared deviations from the mean must be multiplied with to give the sum of variances, its degrees of
    freedom) for independent units that are so large and vary alike within.

    Bell and McCaffrey (2002): with units' means m and shares w, the deviations are A m, A = diag(w) (I - 1 w'), and the
    sum of their squares has the expectation tr(A'A) and the degrees of freedom tr(A'A)^2 / tr(A'A A'A). Of n equal
    units these come to n / (n - 1) and n - 1.
    """
    w, q = shares, shares**2
    s, t = float(q.sum()), float((w * q).sum())
    trace = float((q * (1 - 2 * w + s)).sum())
    square = float((q**2).sum() * (1 + 4 * s) - 4 * (w * q**2).sum()) + 2 * t**2 - 4 * s**2 * t + s**4
    if trace <= 0 or square <= 0:  # one unit is all there is
        return 1.0, 1.0
    return s / trace, max(trace**2 / square, 1.0)


def _variance(parts: Array, rest: float) -> Any:
    """Of the difference [...], from the parts [..., 3]: what is left of the third is never negative."""
    return parts[..., 0] + parts[..., 1] + np.maximum(parts[..., 2] - rest, 0.0)


def _freedom(parts: Array, freedoms: Array, rest: float) -> Any:
    """Satterthwaite's degrees of freedom of this variance [...], each part as large as it may well be."""
    under = np.where(freedoms < 2, UNDER_OF_TWO, UNDER)
    large = parts * freedoms / special.chdtri(freedoms, 1 - under)
    counted = np.stack([large[..., 0], large[..., 1], np.where(large[..., 2] > rest, large[..., 2], 0.0)], -1)
    return _variance(large, rest) ** 2 / (counted**2 / freedoms).sum(-1)


@lru_cache(maxsize=1)
def _points() -> Array:
    """Quasi-random points in the unit cube, [POINTS, 3]."""
    points: Array = stats.qmc.Sobol(3, scramble=False).random(POINTS) + 0.5 / POINTS
    return points


def _hedges(value: float, spread: Spread) -> float | None:
    deviation = math.sqrt((spread.seeds[0] ** 2 + spread.seeds[1] ** 2) / 2)
    if deviation == 0:
        return None
    return value / deviation * (1 - 3 / (4 * (sum(spread.counts) - 2) - 1))
