"""The statistics of comparisons, proved by simulation: false alarms, power, coverage, and what goes wrong without them.

Every simulation draws 1,000 comparisons; a rate of 5 % is then measured to within 1.4 points (two standard errors).
"""

import numpy as np
import pytest
from scipy import stats

from core.training.statistics import (
    BLOCKS,
    POWER,
    Difference,
    Spread,
    _blocks,
    difference,
    holm,
    linearised,
    power,
    seeds_needed,
)

SIMULATIONS = 1000
SEED, REST, MODEL, EXAMPLE = 0.02, 0.2, 0.1, 0.3
"""standard deviations: between seeds, of what only a seed does on an example, of model on example, between examples"""


def drawn(generator, seeds, examples, deviation=SEED, *, profile=None, rest=REST):
    """Scores of one group in SIMULATIONS comparisons [comparison, seed, example]."""
    luck = generator.normal(0, deviation, (SIMULATIONS, seeds, 1))
    model = generator.normal(0, MODEL, (SIMULATIONS, 1, examples))
    return luck + model + generator.normal(0, rest, (SIMULATIONS, seeds, examples)) + profile


def pairs(counts=(5, 5), deviations=(SEED, SEED), examples=200, shift=0.0, seed=0):
    generator = np.random.default_rng(seed)
    profile = generator.normal(0.7, EXAMPLE, (SIMULATIONS, 1, examples))
    a, b = (drawn(generator, n, examples, s, profile=profile) for n, s in zip(counts, deviations, strict=True))
    return zip(a + shift, b, strict=True)


def truth(counts=(5, 5), deviations=(SEED, SEED), examples=200):
    """The components of the variance that `pairs` draws from."""
    a, b = (float(np.hypot(s, REST / examples**0.5)) for s in deviations)
    return Spread((a, b), counts, 2 * MODEL**2 / examples)


def rejected(found: list[Difference]) -> float:
    return float(np.mean([one.p < 0.05 for one in found]))


@pytest.mark.parametrize(
    ("counts", "deviations"),
    [
        ((3, 3), (SEED, SEED)),
        ((5, 5), (SEED, SEED)),
        ((5, 5), (SEED, SEED / 4)),
        ((2, 2), (SEED, SEED / 4)),
        ((10, 3), (SEED / 4, SEED)),
    ],
)
def test_false_alarms_without_a_difference(counts, deviations) -> None:
    assert rejected([difference(a, b) for a, b in pairs(counts, deviations)]) <= 0.05 + 0.02


@pytest.mark.parametrize("counts", [(3, 3), (5, 5)])
def test_seeds_alone_where_only_whole_runs_have_a_score(counts) -> None:
    generator = np.random.default_rng(1)
    null = [difference(*generator.normal(0, SEED, (2, counts[0], 1))) for _ in range(SIMULATIONS)]
    assert 0.02 <= rejected(null) <= 0.07


def test_a_test_over_examples_alone_takes_luck_for_a_property() -> None:
    def naive(a, b):
        return stats.ttest_rel(a.mean(0), b.mean(0)).pvalue < 0.05

    assert np.mean([naive(a, b) for a, b in pairs((1, 1))]) > 0.1
    assert np.mean([naive(a, b) for a, b in pairs((1, 1), (2 * SEED, 2 * SEED))]) > 0.35


@pytest.mark.parametrize("counts", [(3, 3), (5, 5)])
@pytest.mark.parametrize("errors", [2.0, 4.0])
def test_a_planted_difference_is_found_as_often_as_stated_and_covered(counts, errors) -> None:
    shift = errors * truth(counts).error
    found = [difference(a, b) for a, b in pairs(counts, shift=shift, seed=2)]
    assert rejected(found) == pytest.approx(power(shift, truth(counts)), abs=0.06)
    assert np.mean([one.low <= shift <= one.high for one in found]) >= 0.95 - 0.02
    assert np.mean([one.value for one in found]) == pytest.approx(shift, abs=0.1 * truth(counts).error)


def test_with_the_seeds_that_are_said_to_be_needed_it_is_found() -> None:
    shift = 0.04
    needed = seeds_needed(shift, truth())
    assert needed is not None and 5 <= needed <= 20
    spread = truth((needed, needed))
    assert power(shift, spread) >= POWER > power(shift, truth((needed - 1, needed - 1)))
    assert rejected([difference(a, b) for a, b in pairs((needed, needed), shift=shift)]) == pytest.approx(
        POWER, abs=0.06
    )


def test_interval_and_p_value_never_contradict_each_other() -> None:
    for a, b in pairs((3, 3), shift=3 * truth((3, 3)).error):
        found = difference(a, b)
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


def test_swapping_the_groups_turns_the_sign() -> None:
    a, b = next(iter(pairs(shift=0.05)))
    one, other = difference(a, b), difference(b, a)
    assert one.value == -other.value and one.effect == -other.effect and one.needed == other.needed
    assert one.low == pytest.approx(-other.high, abs=0.03 * (one.high - one.low))
    assert one.p == pytest.approx(other.p, abs=0.02)


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
    assert seeds_needed(0.0, truth()) is None


def test_effect_is_hedges_g() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.normal(1, 2, (4, 1)), generator.normal(0, 1, (4, 1))
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert difference(a, b).effect == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 6 - 1)))


def test_a_ratio_of_sums_has_the_variance_that_resampling_it_has() -> None:
    generator = np.random.default_rng(5)
    words = generator.integers(1, 12, (1, 400)).astype(float)
    errors = generator.binomial(words.astype(int), 0.2).astype(float)
    scores = linearised(errors, words)
    assert scores.mean() == pytest.approx(errors.sum() / words.sum())
    rows = generator.integers(0, 400, (2000, 400))
    resampled = (errors[0][rows].sum(1) / words[0][rows].sum(1)).std()
    assert scores.std() / 20 == pytest.approx(resampled, rel=0.1)


@pytest.mark.parametrize("examples", [BLOCKS, BLOCKS + 1, 3 * BLOCKS + 7])
def test_many_examples_become_blocks_of_the_same_mean_and_variance(examples: int) -> None:
    scores = np.random.default_rng(6).normal(0.5, 1, (2, examples))
    blocks = _blocks(scores)
    assert blocks.shape[1] == BLOCKS and blocks.mean(1) == pytest.approx(scores.mean(1))
    assert blocks[0].std() / BLOCKS**0.5 == pytest.approx(scores[0].std() / examples**0.5, rel=0.15)
