"""False-alarm rate and power of comparisons: how often they report a difference that is not there, or find a real one.

    python -m benchmarks.false_alarms                    the tables of docs/compare.md, in some minutes
    python -m benchmarks.false_alarms --comparisons 500  roughly, in half a minute

Scores are drawn from the model of `unroll.comparison.statistics`, and counts (word errors, right or wrong answers) from
separate models. The spread between seeds and the examples' share of the variance are realistic.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unroll.comparison.statistics import Difference, Spread, difference, power, units

Array = NDArray[np.float64]
SEED, REST, MODEL, EXAMPLE = 0.02, 0.2, 0.1, 0.3
"""standard deviations: between seeds, of seed by example, of model by example, between examples"""


@dataclass(frozen=True)
class Case:
    """A kind of comparison, which can be drawn any number of times.

    Attributes:
        counts: seeds of the two groups.
        deviations: between the seeds of each.
        examples: in the test split; 0: only whole runs have a score.
        clusters: of examples; 0: all are independent.
        correlation: between a model's scores on two examples of a cluster.
        uneven: whether each cluster is half as large again as the previous one.
        shift: true difference.
    """

    counts: tuple[int, int] = (5, 5)
    deviations: tuple[float, float] = (SEED, SEED)
    examples: int = 200
    clusters: int = 0
    correlation: float = 0.0
    uneven: bool = False
    shift: float = 0.0

    def groups(self) -> NDArray[np.int64]:
        """The cluster of each example; each cluster occurs at least once."""
        if not self.uneven:
            return np.arange(self.examples) % self.clusters
        sizes = 1.5 ** np.arange(self.clusters)
        edges = np.cumsum(sizes / sizes.sum())[:-1] * (self.examples - self.clusters)
        rest = np.searchsorted(edges, np.arange(self.examples - self.clusters), side="right")
        return np.concatenate([np.arange(self.clusters), rest])

    def truth(self) -> Spread:
        """The components of the variance that `drawn` draws from, without clusters."""
        if not self.examples:
            return Spread(self.deviations, self.counts, 0.0)
        rest, examples = REST**2 / self.examples, 2 * MODEL**2 / self.examples
        a, b = (sqrt(s**2 + rest) for s in self.deviations)
        return Spread((a, b), self.counts, examples, rest * sum(1 / n for n in self.counts), self.examples - 1)

    def drawn(self, comparisons: int, seed: int = 0) -> Iterator[tuple[Array, Array]]:
        """Scores [seeds, examples] of the two groups of each comparison; [seeds, 1] without examples."""
        random = np.random.default_rng(seed)
        for _ in range(comparisons):
            hardness = random.normal(0.7, EXAMPLE, self.examples)
            a, b = (self._group(random, n, s, hardness) for n, s in zip(self.counts, self.deviations, strict=True))
            yield a + self.shift, b

    def _group(self, random: np.random.Generator, seeds: int, deviation: float, hardness: Array) -> Array:
        luck = random.normal(0, deviation, (seeds, 1))
        if not self.examples:
            return luck
        model = random.normal(0, MODEL * sqrt(1 - self.correlation), self.examples)
        if self.clusters:
            model += random.normal(0, MODEL * sqrt(self.correlation), self.clusters)[self.groups()]
        scores: Array = hardness + luck + model + random.normal(0, REST, (seeds, self.examples))
        return scores

    def found(self, comparisons: int, seed: int = 0, clustered: bool = True) -> list[Difference]:
        """The result of each comparison; without `clustered`, as if examples were independent."""
        groups = self.groups() if self.clusters and clustered else None
        return [_compared(a, b, groups) for a, b in self.drawn(comparisons, seed)]


def _compared(a: Array, b: Array, groups: NDArray[np.int64] | None) -> Difference:
    both = np.concatenate([a, b])
    scores, shares = units(both, np.ones_like(both), groups)
    return difference(scores[: len(a)], scores[len(a) :], shares)


def rejected(found: list[Difference], level: float = 0.05) -> float:
    """Fraction of the comparisons that report a difference."""
    return float(np.mean([one.p is not None and one.p < level for one in found]))


def counted(
    comparisons: int, seeds: int, speakers: int, rate: float, words: int, seed: int = 0
) -> Iterator[Difference]:
    """Word error rates over speakers with ten utterances, some of whom are hard for one model but not the other.

    Args:
        comparisons: how many.
        seeds: of each model.
        speakers: in the test split.
        rate: of errors.
        words: in the longest utterance; if 1, the score is whether an answer is wrong.
        seed: for drawing.
    """
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(speakers), 10)
    for _ in range(comparisons):
        length = random.integers(1, words + 1, len(groups))
        rates = []
        for _ in range(2):
            hard = rate * random.lognormal(-0.125, 0.5, speakers)[groups]
            rates.append(np.clip(hard * random.lognormal(-0.02, 0.2, (seeds, 1)), 0, 1))
        errors = random.binomial(length, np.concatenate(rates)).astype(np.float64)
        scores, shares = units(errors, np.broadcast_to(length, errors.shape).astype(np.float64), groups)
        yield difference(scores[:seeds], scores[seeds:], shares)


COUNTS = ((3, 3), (4, 4), (5, 5), (3, 5), (3, 10), (10, 10))
SPREADS = ((SEED, SEED), (SEED, SEED / 4), (SEED / 4, SEED))
CLUSTERS = ((4, False), (10, False), (10, True), (30, False), (30, True))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4000)
    n = parser.parse_args().comparisons
    error = sqrt(0.05 * 0.95 / n)
    print(f"{n} comparisons each; a rate of 5 % is measured to within {200 * error:.1f} points (two standard errors)\n")
    _spreads(n)
    _clusters(n)
    _counts(n)
    _powers(n)


def _spreads(n: int) -> None:
    _head("false alarms in %; spreads of the seeds 1:1, 4:1, and 1:4 where that is another case", SPREAD_COLUMNS)
    for counts in ((2, 2), (2, 5), *COUNTS):
        chosen = SPREADS[: 2 if counts[0] == counts[1] else 3]
        cells = [", ".join(_percent(Case(counts, s, examples).found(n)) for s in chosen) for examples in (200, 0)]
        _row(_seeds(counts), *cells)


def _clusters(n: int) -> None:
    _head("false alarms in %; 200 examples in clusters", CLUSTER_COLUMNS)
    for clusters, uneven in CLUSTERS:
        for correlation, seeds in product((0.12, 0.5), (3, 5)):
            case = Case((seeds, seeds), (SEED / 4, SEED / 4), 200, clusters, correlation, uneven)
            rates = [_percent(case.found(n, clustered=clustered)) for clustered in (True, False)]
            _row(f"{clusters}{', uneven' if uneven else ''}", correlation, _seeds(case.counts), *rates)


def _counts(n: int) -> None:
    _head("false alarms in %; errors that are counted, of speakers with ten utterances", COUNT_COLUMNS)
    for speakers, rate, words in ((5, 0.1, 8), (10, 0.1, 8), (40, 0.1, 8), (10, 0.02, 1), (40, 0.02, 1)):
        rates = [_percent(list(counted(n, seeds, speakers, rate, words))) for seeds in (3, 5)]
        _row(speakers, f"{rate:.0%}", f"1 to {words}", *rates)


def _powers(n: int) -> None:
    _head("power in % at a true difference of 3 standard errors", POWER_COLUMNS)
    for counts in COUNTS:
        cells = []
        for examples in (200, 0):
            case = Case(counts, examples=examples)
            case = replace(case, shift=3 * case.truth().error)
            cells += [_percent(case.found(n)), f"{100 * power(case.shift, case.truth()):.1f}"]
        welch = [stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).pvalue < 0.05 for a, b in case.drawn(n)]
        _row(_seeds(counts), *cells, f"{100 * np.mean(welch):.1f}")


SPREAD_COLUMNS = ("seeds", "200 examples", "whole runs only")
CLUSTER_COLUMNS = ("clusters", "correlation", "seeds", "clusters as groups", "as if independent")
COUNT_COLUMNS = ("speakers", "errors", "words", "3 and 3 seeds", "5 and 5 seeds")
POWER_COLUMNS = ("seeds", "200 examples: found", "stated", "whole runs: found", "stated", "Welch's test")


def _head(title: str, columns: tuple[str, ...]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def _row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _seeds(counts: tuple[int, int]) -> str:
    return f"{counts[0]} and {counts[1]}"


def _percent(found: list[Difference]) -> str:
    return f"{100 * rejected(found):.1f}"


if __name__ == "__main__":
    main()
