"""The n-gram baseline against nltk.lm, and on texts with unseen words."""

import math

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from unroll.apps.language.ngrams import DISCOUNTS, KneserNey

TRAIN = np.random.default_rng(0).choice(6, size=400, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
TEST = np.random.default_rng(1).choice(6, size=60, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04])


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_probabilities_are_those_of_nltk(order, discount):
    text = [str(token) for token in TRAIN]
    library = KneserNeyInterpolated(order, discount=discount)
    library.fit([list(everygrams(text, max_len=order))], vocabulary_text=text)
    wanted = [
        library.unmasked_score(str(token), tuple(str(t) for t in TEST[max(0, i - order + 1) : i]))
        for i, token in enumerate(TEST)
    ]
    got = KneserNey(TRAIN, 6, order).probabilities(TEST, discount)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_discount_is_the_best_for_a_held_out_text():
    model = KneserNey(TRAIN, 6, 3)
    best = model.tuned(TEST)
    figures = {d: np.log(model.probabilities(TEST, d)).sum() for d in DISCOUNTS}
    assert figures[best] == max(figures.values())
    assert len(set(figures.values())) > 1


def test_all_words_together_have_probability_one_also_unseen_ones():
    model = KneserNey(TRAIN, 8, 3)  # 6 and 7 never occur
    for context in ([0, 1], [5, 5], [7, 0]):
        total = sum(model.probabilities(np.array([*context, word]), 0.6)[-1] for word in range(8))
        assert math.isclose(total, 1.0, rel_tol=1e-12)
        assert model.probabilities(np.array([*context, 7]), 0.6)[-1] > 0
