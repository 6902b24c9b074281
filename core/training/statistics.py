"""Is the difference between two groups of runs true? Tests and intervals over examples and seeds at once.

The scores of a group are y[s, i], seed s on test example i, the same examples for everyone. Two things are drawn at
random, and a claim about a model must hold for other draws of both: the seed (weights, data order) and the examples.
A test over examples alone takes the luck of one training for a property of the model; its false alarms reach 40 % and
more where seeds differ as much as models do (`tests/core/training/test_statistics.py` shows it).

    y[s, i] = mean + seed[s] + example[i] + (model x example)[i] + rest[s, i]
    Var(difference) = sum over groups of Var(run means) / seeds + Var(model x example) / examples

These are the components of multi-reader multi-case studies (Obuchowski and Rockette 1995; Hillis 2014: readers nested
in treatments); our readers are seeds. The test is a studentised bootstrap of the difference: examples are resampled
with replacement, in pairs; seeds are too few to be resampled (three have ten different resamples), so their means and
variances are drawn from the normal distribution that fits them (Krishnamoorthy, Lu and Mathew 2007), which allows the
groups to differ in variance. With two seeds, or with groups of unequal size, that may be wrong in the groups' variances
by more than the test can bear: their uncertainty is then drawn as well (the solution of Behrens and Fisher, which is
cautious). Interval and p-value come from the same draws and never contradict each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

Array = NDArray[np.float64]

REPLICATES = 4999
"""bootstrap draws: no p-value is below 1 / (REPLICATES + 1)"""
BLOCKS = 500
"""more examples than these are resampled in so many blocks of neighbours, which also keeps what neighbours share"""
LEVEL = 0.95
POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Spread:
    """How much of a difference is luck.

    Attributes:
        seeds: standard deviation between the runs of each of the two groups.
        counts: seeds of each.
        examples: variance of the difference that comes from the choice of examples, whatever the number of seeds.
    """

    seeds: tuple[float, float]
    counts: tuple[int, int]
    examples: float

    @property
    def parts(self) -> tuple[float, float]:
        """Variance of each group's mean that comes from its seeds."""
        return self.seeds[0] ** 2 / self.counts[0], self.seeds[1] ** 2 / self.counts[1]

    @property
    def cautious(self) -> bool:
        """Whether the variances of the groups are too uncertain, or too unequally known, to be taken as they are."""
        return min(self.counts) < 3 or self.counts[0] != self.counts[1]

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(sum(self.parts) + self.examples)


@dataclass(frozen=True)
class Difference:
    """What can be said about mean(a) - mean(b). What a group of one seed cannot say is None."""

    value: float
    low: float | None = None
    """of the 95 % interval"""
    high: float | None = None
    p: float | None = None
    effect: float | None = None
    """in standard deviations between seeds: Hedges' g, with the mean of the two groups' variances"""
    spread: Spread | None = None

    @property
    def needed(self) -> int | None:
        """Seeds in each group with which a difference as large as this is found with 80 % probability."""
        return seeds_needed(self.value, self.spread) if self.spread else None


def difference(a: Array, b: Array) -> Difference:
    """Compare two groups of runs on the same examples.

    Args:
        a, b: scores [seeds, examples], the examples in the same order; [seeds, 1] where only whole runs have a score.
    """
    value = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Difference(value)
    a, b = _blocks(a), _blocks(b)
    spread, profile = _spread(a, b)
    if spread.error <= 1e-12 * (1 + abs(value)):  # nothing varies: that tells nothing about how much it would
        return Difference(value)
    drawn = np.sort(np.abs(_pivots(spread, profile)))
    outside = round((1 - LEVEL) * (REPLICATES + 1))
    wide = float(drawn[-outside]) * spread.error
    p = (1 + int((drawn >= abs(value) / spread.error).sum())) / (REPLICATES + 1)
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
    """Probability that a true difference of `value` is found at 5 %, with normal seeds; `spread` is the true one."""
    error = spread.error
    if error == 0:
        return float(value != 0)
    squares = sum(part**2 / (count - 1) for part, count in zip(spread.parts, spread.counts, strict=True))
    freedom = min(error**4 / squares, 1e6) if squares else 1e6
    limit = stats.t.ppf((1 + LEVEL) / 2, freedom)
    return float(stats.nct.sf(limit, freedom, abs(value) / error))


def seeds_needed(value: float, spread: Spread) -> int | None:
    """Seeds in each of the groups with which a true difference of `value` is found with 80 % probability.

    None where even a thousand would not do, because the examples are too few or the difference is nothing.
    """

    def enough(count: int) -> bool:
        return power(value, Spread(spread.seeds, (count, count), spread.examples)) >= POWER

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def linearised(numerators: Array, denominators: Array) -> Array:
    """Scores per example whose mean is sum(numerators) / sum(denominators) and whose variance is, to first order, that
    of this ratio (the delta method): word errors and words, surprisals and tokens. [seeds, examples] each.
    """
    ratio = numerators.sum(1, keepdims=True) / denominators.sum(1, keepdims=True)
    scores: Array = ratio + (numerators - ratio * denominators) / denominators.mean(1, keepdims=True)
    return scores


def _blocks(scores: Array) -> Array:
    """At most BLOCKS means of neighbouring examples. Sizes that differ by one are weighted so that the mean stays."""
    examples = scores.shape[1]
    if examples <= BLOCKS:
        return scores
    edges = np.linspace(0, examples, BLOCKS, endpoint=False).astype(int)
    blocks: Array = np.add.reduceat(scores, edges, axis=1) * (BLOCKS / examples)
    return blocks


def _spread(a: Array, b: Array) -> tuple[Spread, Array]:
    """The components of the variance, and what the bootstrap resamples: the difference on each example."""
    profile = a.mean(0) - b.mean(0)
    examples = 0.0
    if len(profile) > 1:
        # The rest is in both, the variance between seeds and that between examples, and must be counted once.
        twice = sum(_rest(group) / len(group) for group in (a, b))
        examples = max(0.0, float(profile.var(ddof=1)) - twice) / len(profile)
    deviations = float(a.mean(1).std(ddof=1)), float(b.mean(1).std(ddof=1))
    return Spread(deviations, (len(a), len(b)), examples), profile


def _rest(scores: Array) -> float:
    """Variance that neither the seed nor the example explains."""
    seeds, examples = scores.shape
    rest = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    return float((rest**2).sum() / ((seeds - 1) * (examples - 1)))


def _pivots(spread: Spread, profile: Array) -> Array:
    """Draws of (difference - its mean) / (its standard error as estimated from the same draw)."""
    sums, squares = np.zeros(REPLICATES), np.zeros(REPLICATES)
    normals, chi = _seed_draws(spread.counts)
    if spread.examples > 0:
        weights, deviation = _resamples(len(profile)), profile - profile.mean()
        drawn = weights @ np.stack([deviation, deviation**2], 1)
        size = math.sqrt(float((deviation**2).sum()))
        sums = drawn[:, 0] / size
        squares = drawn[:, 1] / size**2 - sums**2 / len(profile)
    parts, luck = np.array(spread.parts), math.sqrt(spread.examples) * sums
    if spread.cautious:
        numerators: Array = luck + (normals / np.sqrt(chi)) @ np.sqrt(parts)
        return numerators / spread.error
    numerators = luck + normals @ np.sqrt(parts)
    # Two seeds that happen to agree must not look like certainty in a draw; neither must a resample of equals.
    variances = np.maximum(spread.examples * squares + chi @ parts, 1e-12 * spread.error**2)
    pivots: Array = numerators / np.sqrt(variances)
    return pivots


@lru_cache(maxsize=4)
def _resamples(examples: int) -> Array:
    """How often each example is in each resample [REPLICATES, examples]: the same ones for every comparison."""
    generator = np.random.default_rng(examples)
    rows = generator.integers(0, examples, (REPLICATES, examples)) + examples * np.arange(REPLICATES)[:, None]
    return np.bincount(rows.ravel(), minlength=REPLICATES * examples).reshape(REPLICATES, examples).astype(np.float64)


@lru_cache(maxsize=64)
def _seed_draws(counts: tuple[int, int]) -> tuple[Array, Array]:
    """Normal deviations of two means, and factors on their variances, [REPLICATES, 2] each."""
    generator = np.random.default_rng(counts)
    freedom = np.array(counts) - 1
    return generator.standard_normal((REPLICATES, 2)), generator.chisquare(freedom, (REPLICATES, 2)) / freedom


def _hedges(value: float, spread: Spread) -> float | None:
    deviation = math.sqrt((spread.seeds[0] ** 2 + spread.seeds[1] ** 2) / 2)
    if deviation == 0:
        return None
    return value / deviation * (1 - 3 / (4 * (sum(spread.counts) - 2) - 1))
