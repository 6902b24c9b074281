"""The statistics of comparisons, checked by simulation: false alarms, power, coverage, and what fails without them.

Data are drawn as in `benchmarks.false_alarms`, which has more cases and more comparisons of each. Every simulation
here draws 1,000 from a fixed seed; a rate of 6 % is then measured to within 1.5 points (two standard errors).
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.false_alarms import SEED, Case, counted, rejected
from unroll.comparison.statistics import (
    POWER,
    Needed,
    Spread,
    _of_unequal,
    difference,
    holm,
    needed,
    power,
    seeds_needed,
    units,
)

SIMULATIONS = 1000
MOST = 0.06 + 0.015
"""what is claimed, and what chance adds to it"""


@pytest.mark.parametrize("examples", [200, 0])
@pytest.mark.parametrize(
    ("counts", "deviations"),
    [
        ((2, 2), (SEED, SEED / 4)),
        ((3, 3), (SEED, SEED)),
        ((3, 3), (SEED, SEED / 4)),
        ((4, 4), (SEED, SEED / 4)),
        ((5, 5), (SEED, SEED)),
        ((5, 5), (SEED, SEED / 4)),
        ((3, 5), (SEED, SEED)),
        ((3, 5), (SEED, SEED / 4)),
        ((3, 5), (SEED / 4, SEED)),
        ((10, 3), (SEED / 4, SEED)),
    ],
)
def test_false_alarms_without_a_difference(counts, deviations, examples: int) -> None:
    assert rejected(Case(counts, deviations, examples).found(SIMULATIONS)) <= MOST


@pytest.mark.parametrize(
    ("clusters", "correlation", "uneven"), [(5, 0.12, False), (10, 0.12, False), (10, 0.5, True), (30, 0.5, False)]
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_examples_of_one_speaker_are_no_independent_draws(
    clusters: int, correlation: float, uneven: bool, seeds: int
) -> None:
    case = Case((seeds, seeds), (SEED / 4, SEED / 4), 200, clusters, correlation, uneven)
    assert rejected(case.found(SIMULATIONS)) <= MOST
    assert rejected(case.found(SIMULATIONS, clustered=False)) > rejected(case.found(SIMULATIONS))


def test_taken_for_independent_they_raise_false_alarms() -> None:
    case = Case((5, 5), (SEED / 4, SEED / 4), 200, 10, 0.12)
    assert rejected(case.found(SIMULATIONS, clustered=False)) > 0.13
    worse = replace(case, correlation=0.5)
    assert rejected(worse.found(SIMULATIONS, clustered=False)) > 0.3


@pytest.mark.parametrize(("speakers", "rate", "words"), [(5, 0.1, 8), (10, 0.02, 1), (40, 0.1, 8)])
def test_false_alarms_of_error_rates_by_speakers(speakers: int, rate: float, words: int) -> None:
    assert rejected(list(counted(SIMULATIONS, 4, speakers, rate, words))) <= MOST


def test_a_test_over_examples_alone_takes_luck_for_a_property() -> None:
    def naive(a, b):
        return stats.ttest_rel(a.mean(0), b.mean(0)).pvalue < 0.05

    assert np.mean([naive(a, b) for a, b in Case((1, 1)).drawn(SIMULATIONS)]) > 0.1
    assert np.mean([naive(a, b) for a, b in Case((1, 1), (2 * SEED, 2 * SEED)).drawn(SIMULATIONS)]) > 0.35


@pytest.mark.parametrize("counts", [(3, 3), (5, 5), (3, 5)])
@pytest.mark.parametrize("errors", [2.0, 4.0])
def test_a_planted_difference_is_found_as_often_as_stated_and_covered(counts, errors) -> None:
    case = Case(counts)
    shift = errors * case.truth().error
    found = replace(case, shift=shift).found(SIMULATIONS, seed=2)
    assert rejected(found) == pytest.approx(power(shift, case.truth()), abs=0.05)
    assert np.mean([one.low <= shift <= one.high for one in found]) >= 1 - MOST
    assert np.mean([one.value for one in found]) == pytest.approx(shift, abs=0.1 * case.truth().error)


def test_whole_runs_alone_have_nearly_the_power_of_welchs_test() -> None:
    """Of five and three seeds; where both groups are as large, and so known as well, it is that test to the digit."""
    case = Case((5, 3), examples=0)
    case = replace(case, shift=3 * case.truth().error)
    welch = np.mean([stats.ttest_ind(a, b, equal_var=False).pvalue[0] < 0.05 for a, b in case.drawn(SIMULATIONS)])
    assert rejected(case.found(SIMULATIONS)) > welch - 0.07 > 0.45
    for a, b in Case((4, 4), examples=0).drawn(20):
        wanted = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
        found = difference(a, b)
        interval = wanted.confidence_interval(0.95)
        assert (found.p, found.low, found.high) == pytest.approx((wanted.pvalue, interval.low, interval.high))


def test_with_the_seeds_that_are_said_to_be_needed_it_is_found() -> None:
    case = Case(shift=0.04)
    number = seeds_needed(0.04, case.truth())
    assert number is not None and 5 <= number <= 20
    case = replace(case, counts=(number, number))
    fewer = replace(case, counts=(number - 1, number - 1))
    assert power(0.04, case.truth()) >= POWER > power(0.04, fewer.truth())
    assert rejected(case.found(SIMULATIONS)) == pytest.approx(POWER, abs=0.05)


def test_two_seeds_are_never_said_to_be_enough() -> None:
    sure = Spread((0.001, 0.001), (2, 2), 0.0)
    assert seeds_needed(1.0, sure) == 3 and needed(1.0, sure) == Needed(3, 3, 3)
    # Two seeds find this in one of three comparisons, three in more than half: it is not two that are said to do.
    assert power(4.0, Spread((1.0, 1.0), (2, 2), 0.0)) < 0.35
    assert seeds_needed(4.0 / 2**0.5 * 2**0.5, Spread((1.0, 1.0), (2, 2), 0.0)) == 3


def test_how_many_seeds_is_a_range_that_holds_the_truth_as_often_as_it_says() -> None:
    case, within = Case((4, 4), examples=0), 0
    wanted = seeds_needed(0.03, case.truth())
    for one in case.found(300):
        assert one.spread is not None
        found = needed(0.03, one.spread)
        assert found is not None and found.low <= found.likely <= (found.high or 1000)
        within += found.low <= wanted <= (found.high or 1000)
    assert within / 300 >= 0.8 - 0.06
    assert str(Needed(8, 4, 20)) == "4 to 20" and str(Needed(8, 4, None)) == "4 or more" and str(Needed(3, 3, 3)) == "3"


def test_interval_and_p_value_never_contradict_each_other() -> None:
    case = Case((3, 3), shift=3 * Case((3, 3)).truth().error)
    for found in case.found(SIMULATIONS):
        assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)


def test_holm_keeps_the_family() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([]) == [] and holm([None]) == [None] and holm([0.7, 0.8]) == [1.0, 1.0]
    generator = np.random.default_rng(3)
    alarms = 0
    for _ in range(SIMULATIONS // 2):
        baseline, *others = generator.normal(0, SEED, (5, 5, 1))
        alarms += min(holm([difference(one, baseline).p for one in others])) < 0.05
    assert alarms / (SIMULATIONS // 2) <= 0.05 + 0.03


def test_a_clear_difference_stands_among_a_thousand_comparisons() -> None:
    case = Case((5, 5), shift=20 * Case((5, 5)).truth().error)
    [found] = case.found(1)
    assert found.p < 1e-5
    assert holm([found.p] + [0.5] * 999)[0] < 0.05


def test_swapping_the_groups_turns_the_sign() -> None:
    a, b = next(Case((3, 5), shift=0.05).drawn(1))
    one, other = difference(a, b), difference(b, a)
    assert one.value == -other.value and one.effect == -other.effect and one.needed == other.needed
    assert one.low == pytest.approx(-other.high) and one.p == pytest.approx(other.p)


def test_what_one_seed_cannot_tell_is_not_told() -> None:
    generator = np.random.default_rng(0)
    found = difference(generator.normal(0, 1, (1, 50)), generator.normal(0, 1, (5, 50)))
    assert found.low is found.high is found.p is found.effect is found.needed is None
    assert np.isfinite(found.value)


def test_seeds_that_do_not_differ_at_all_give_no_certainty() -> None:
    found = difference(np.ones((3, 20)), np.full((3, 20), 0.5))
    assert found.value == 0.5 and found.p is None and found.low is None


def test_too_few_examples_are_not_cured_by_seeds() -> None:
    assert seeds_needed(0.01, Spread((0.001, 0.001), (3, 3), examples=0.01**2)) is None
    assert seeds_needed(0.0, Case().truth()) is None and needed(0.0, Case().truth()) is None
    # Nor are few speakers by seeds: three of them leave a t distribution of two degrees of freedom.
    few, many = (Spread((0.001, 0.001), (3, 3), 0.01**2, freedom=freedom) for freedom in (2, 200))
    assert power(0.04, few) < 0.7 and power(0.04, many) > 0.9


def test_effect_is_hedges_g() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.normal(1, 2, (4, 1)), generator.normal(0, 1, (4, 1))
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert difference(a, b).effect == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 6 - 1)))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_ratio_of_sums_has_the_variance_that_resampling_it_has(grouped: bool) -> None:
    generator = np.random.default_rng(5)
    groups = np.arange(400) % 50 if grouped else np.arange(400)
    words = generator.integers(1, 12, (1, 400)).astype(float)
    hard = np.clip(generator.normal(0.2, 0.05, 50), 0, 1)[np.arange(400) % 50]
    errors = generator.binomial(words.astype(int), hard).astype(float)
    scores, shares = units(errors, words, groups if grouped else None)
    count = groups.max() + 1
    assert scores.shape == (1, count) and shares.sum() == pytest.approx(1)
    assert scores.mean() == pytest.approx(errors.sum() / words.sum())
    sums = np.stack([np.bincount(groups, values[0], count) for values in (errors, words)])
    drawn = sums[:, generator.integers(0, count, (2000, count))].sum(-1)
    assert scores.std() / count**0.5 == pytest.approx((drawn[0] / drawn[1]).std(), rel=0.1)


def test_units_of_unequal_size_bring_fewer_degrees_of_freedom() -> None:
    assert _of_unequal(np.full(10, 0.1)) == pytest.approx((10 / 9, 9))
    shares = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    deviations = np.diag(shares) @ (np.eye(6) - np.outer(np.ones(6), shares))
    form = deviations.T @ deviations
    wanted = (shares**2).sum() / np.trace(form), np.trace(form) ** 2 / np.trace(form @ form)
    assert _of_unequal(shares) == pytest.approx(wanted) and wanted[1] < 2.5
    assert _of_unequal(np.array([1.0, 0.0])) == (1.0, 1.0)
