"""The formulas of the comparison's test once more, written out number by number, against the module that is fast."""

import math
from itertools import count

import numpy as np
import pytest
from scipy import stats

from unroll.comparison import statistics
from unroll.comparison.statistics import Spread, difference, needed, power, seeds_needed, units


def unequal(shares) -> tuple[float, float]:
    """(factor, degrees of freedom) by the matrix of the deviations itself (Bell and McCaffrey 2002)."""
    size = len(shares)
    deviations = np.diag(shares) @ (np.eye(size) - np.outer(np.ones(size), shares))
    form = deviations.T @ deviations
    return (shares**2).sum() / np.trace(form), np.trace(form) ** 2 / np.trace(form @ form)


def residual(scores) -> float:
    """Mean over seeds of the squares that neither seed nor unit explains, summed over units, per seed."""
    total = 0.0
    for run in scores:
        for unit, value in enumerate(run):
            total += (value - run.mean() - scores[:, unit].mean() + scores.mean()) ** 2
    return total / (len(scores) - 1) / len(scores)


def freedom(parts, freedoms, rest) -> float:
    large = [
        part * known / stats.chi2.ppf(0.1 if known < 2 else 0.2, known)
        for part, known in zip(parts, freedoms, strict=True)
    ]
    total = large[0] + large[1] + max(large[2] - rest, 0.0)
    counted = [large[0], large[1], large[2] if large[2] > rest else 0.0]
    return total**2 / sum(part**2 / known for part, known in zip(counted, freedoms, strict=True))


def written_out(a, b, shares=None) -> dict[str, float]:
    size = a.shape[1]
    value = a.mean() - b.mean()
    parts = [np.var(scores.mean(1), ddof=1) / len(scores) for scores in (a, b)]
    freedoms = [len(a) - 1.0, len(b) - 1.0, 1000.0]
    rest = between = 0.0
    if size > 1:
        factor, freedoms[2] = unequal(np.full(size, 1 / size) if shares is None else shares)
        profile = a.mean(0) - b.mean(0)
        between = factor * sum((one - profile.mean()) ** 2 for one in profile) / size**2
        rest = max(0.0, 1 - 3 / freedoms[2]) * factor * (residual(a) + residual(b)) / size**2
    error = math.sqrt(parts[0] + parts[1] + max(between - rest, 0.0))
    known = freedom([*parts, between], freedoms, rest)
    wide = stats.t.ppf(0.975, known) * error
    deviation = math.sqrt((np.var(a.mean(1), ddof=1) + np.var(b.mean(1), ddof=1)) / 2)
    small = 1 - 3 / (4 * (len(a) + len(b) - 2) - 1)
    return {
        "value": value, "low": value - wide, "high": value + wide, "p": 2 * stats.t.sf(abs(value) / error, known),
        "effect": value / deviation * small, "error": error, "rest": rest, "freedom": freedoms[2],
    }  # fmt: skip


SHAPES = [(3, 3, 1), (2, 5, 1), (2, 2, 12), (3, 5, 12), (5, 3, 4), (4, 4, 40), (2, 3, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_a_difference_is_what_the_formulas_give(shape, uneven: bool, spread: float) -> None:
    first, second, size = shape
    generator = np.random.default_rng(sum(shape))
    hard = generator.normal(0, 1, size)
    a, b = (
        hard + shift + generator.normal(0, spread, (n, 1)) + generator.normal(0, 0.3, (n, size))
        for n, shift in ((first, 0.7), (second, 0.0))
    )
    shares = generator.dirichlet(np.full(size, 2.0)) if uneven and size > 1 else None
    found, wanted = difference(a, b, shares), written_out(a, b, shares)
    assert found.spread is not None
    got = {name: getattr(found, name) for name in ("value", "low", "high", "p", "effect")}
    got |= {name: getattr(found.spread, name) for name in ("error", "rest", "freedom")}
    assert got == pytest.approx(wanted, rel=1e-7)
    assert found.spread.counts == (first, second)
    assert found.spread.seeds == pytest.approx((a.mean(1).std(ddof=1), b.mean(1).std(ddof=1)))


def test_one_large_unit_has_one_degree_of_freedom() -> None:
    a, b = np.random.default_rng(0).normal(0, 1, (2, 3, 2))
    found = difference(a, b, np.array([1.0, 0.0]))
    assert found.spread is not None and found.spread.freedom == 1.0 and found.spread.rest == 0.0


def test_power_is_the_share_of_draws_that_are_found() -> None:
    spread = Spread((0.5, 0.8), (3, 4), examples=0.03, rest=0.01, freedom=9.0)
    parts, freedoms = [0.25 / 3, 0.64 / 4, 0.04], [2.0, 3.0, 9.0]
    error = math.sqrt(0.25 / 3 + 0.64 / 4 + 0.03)
    assert spread.error == pytest.approx(error)
    shares = []
    for point in statistics._points():
        drawn = [
            part * stats.chi2.isf(at, known) / known for part, at, known in zip(parts, point, freedoms, strict=True)
        ]
        limit = stats.t.ppf(0.975, freedom(drawn, freedoms, 0.01))
        limit *= math.sqrt(drawn[0] + drawn[1] + max(drawn[2] - 0.01, 0.0)) / error
        shares.append(stats.norm.cdf(1.5 / error - limit) + stats.norm.cdf(-limit - 1.5 / error))
    assert power(1.5, spread) == pytest.approx(np.mean(shares))
    assert power(-1.5, spread) == power(1.5, spread)
    assert power(0.0, spread) < 0.06


def test_the_points_of_the_integral_fill_the_cube_evenly() -> None:
    points = statistics._points()
    assert points.shape == (1024, 3) and 0 < points.min() < points.max() < 1
    for axis in points.T:
        assert sorted(np.floor(axis * 1024).astype(int)) == list(range(1024))
    assert np.corrcoef(points.T) == pytest.approx(np.eye(3), abs=0.02)


def test_nothing_that_varies_is_found_or_is_not_there() -> None:
    assert [power(value, Spread((0.0, 0.0), (3, 3), 0.0)) for value in (0.1, 0.0)] == [1.0, 0.0]


def test_other_numbers_of_seeds_divide_the_same_variances() -> None:
    spread = Spread((0.5, 0.8), (3, 4), examples=0.03, rest=0.01, freedom=9.0)
    more = spread.of(6, scale=2.0)
    assert more.seeds == (1.0, 1.6) and more.counts == (6, 6) and (more.examples, more.freedom) == (0.03, 9.0)
    assert more.rest == pytest.approx(0.01 * 4 * (2 / 6) / (1 / 3 + 1 / 4))
    assert more.parts == pytest.approx([1 / 6, 2.56 / 6, 0.03 + more.rest]) and list(more.freedoms) == [5, 5, 9]
    assert spread.of(3).rest == pytest.approx(0.01 * (2 / 3) / (1 / 3 + 1 / 4))


def first_enough(value: float, spread: Spread) -> int:
    return next(number for number in count(3) if power(value, spread.of(number)) >= 0.8)


@pytest.mark.parametrize("value", [2.5, 1.2, 0.8])
def test_the_seeds_that_are_needed_are_the_fewest_that_do(value: float) -> None:
    spread = Spread((0.5, 0.8), (3, 4), examples=0.01, rest=0.01, freedom=30.0)
    assert seeds_needed(value, spread) == first_enough(value, spread)
    found = needed(value, spread)
    a, b = 0.25 / 3, 0.64 / 4
    known = (a + b) ** 2 / (a**2 / 2 + b**2 / 3)
    scales = [math.sqrt(known / stats.chi2.ppf(at, known)) for at in (0.9, 0.1)]
    low, high = (first_enough(value, spread.of(3, scale)) for scale in scales)
    assert found is not None and (found.likely, found.low, found.high) == (first_enough(value, spread), low, high)
    wider = needed(value, spread, freedom=1.0)
    assert wider is not None and wider.low <= found.low and (wider.high is None or wider.high >= high)


def test_a_thousand_seeds_may_be_needed_and_more_are_not_said() -> None:
    spread = Spread((1.0, 1.0), (3, 3), 0.0)
    just = next(value / 1000 for value in range(100, 200) if power(value / 1000, spread.of(1000)) >= 0.8)
    assert seeds_needed(just, spread) is not None and seeds_needed(just - 0.001, spread) is None
    found = needed(just + 0.001, spread)
    assert found is not None and found.high is None


@pytest.mark.parametrize("groups", [None, np.array([0, 0, 1, 2, 2, 2])])
def test_a_units_score_is_its_share_of_the_ratio(groups) -> None:
    numerators = np.array([[1.0, 2, 0, 4, 1, 1], [2.0, 2, 1, 3, 0, 0]])
    weights = np.array([[4.0, 5, 6, 7, 2, 2], [4.0, 5, 6, 7, 2, 2]])
    scores, shares = units(numerators, weights, groups)
    members = [[number] for number in range(6)] if groups is None else [[0, 1], [2], [3, 4, 5]]
    for run in range(2):
        ratio = numerators[run].sum() / weights[run].sum()
        for unit, own in enumerate(members):
            off = numerators[run, own].sum() - ratio * weights[run, own].sum()
            assert scores[run, unit] == pytest.approx(ratio + off * len(members) / weights[run].sum())
    assert shares == pytest.approx([weights[0, own].sum() / 26 for own in members])
