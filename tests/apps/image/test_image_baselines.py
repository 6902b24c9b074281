"""What the networks must beat."""

import numpy as np
import pytest

from unroll.apps.image import APP, baselines

from .conftest import made


def test_simple_classifiers(store):
    _, config, data, _ = made(store, "data.limit=0")
    found = APP.baselines(config, data)
    assert 0.85 < found["nearest class mean"]["accuracy"] < found["logistic regression"]["accuracy"] < 0.98


def test_counts_give_the_bits_that_the_formulas_give():
    train = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]]])
    prior = baselines.PRIOR
    marginal = baselines._marginal(train, 2)(train)
    assert marginal[0, 0, 1] == pytest.approx((1 + prior) / (2 + 2 * prior))
    assert marginal[0, 0, 0] == pytest.approx((2 + prior) / (2 + 2 * prior))
    # After 0 (or nothing) come 0, 1; 0, 0, 1 and after 1 come 1, 1; 0.
    markov = baselines._markov(train, 2)(train)
    assert markov[0, 0, 1] == pytest.approx((2 + prior) / (5 + 2 * prior))
    assert markov[0, 1, 1] == pytest.approx((2 + prior) / (3 + 2 * prior))
    by_place = baselines._markov_by_place(train, 2, baselines._marginal(train, 2))
    both = by_place(np.array([[[0, 0], [0, 0]], [[0, 1], [0, 0]]]))[:, 0, 1]
    assert both.sum() == pytest.approx(1)


def test_baselines_of_completion_on_the_digits(store):
    _, config, data, _ = made(store, "train.task=complete", "data.limit=0")
    found = APP.baselines(config, data)
    assert set(found) == {"each place by itself", "Markov", "Markov at each place"}
    assert 2.3 < found["each place by itself"]["bits_per_pixel"] < 2.5
    assert found["Markov at each place"]["bits_per_pixel"] < found["each place by itself"]["bits_per_pixel"]
