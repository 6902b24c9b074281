import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from unroll.apps.similarity import baselines
from unroll.apps.similarity.metrics import measure, pearson

RANDOM = np.random.default_rng(0)
REFERENCES = RANDOM.integers(1, 6, size=300).astype(float)
PREDICTIONS = REFERENCES + RANDOM.normal(size=300)


def test_as_scipy_has_them():
    values = measure(REFERENCES.tolist(), PREDICTIONS.tolist())
    assert values["pearson"] == pytest.approx(pearsonr(REFERENCES, PREDICTIONS).statistic)
    assert values["spearman"] == pytest.approx(spearmanr(REFERENCES, PREDICTIONS).statistic)
    assert values["mse"] == pytest.approx(np.mean((REFERENCES - PREDICTIONS) ** 2))
    assert next(iter(values)) == "pearson"


def test_the_interval_is_scipys_bootstrap():
    values = measure(REFERENCES.tolist(), PREDICTIONS.tolist())
    low, high = pearsonr(REFERENCES, PREDICTIONS).confidence_interval()  # Fisher's, for normal errors
    assert values["pearson_low"] == pytest.approx(low, abs=0.02)
    assert values["pearson_high"] == pytest.approx(high, abs=0.02)
    for name in ("spearman", "mse"):
        assert values[f"{name}_low"] < values[name] < values[f"{name}_high"]


def test_it_can_be_repeated():
    assert measure(REFERENCES.tolist(), PREDICTIONS.tolist()) == measure(REFERENCES.tolist(), PREDICTIONS.tolist())


@pytest.mark.filterwarnings("error")
def test_constant_predictions_and_a_single_pair_are_no_accident():
    assert pearson(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == 0
    assert measure([1.0], [2.0])["mse"] == 1


def test_cosine_and_edits_by_hand():
    a, b = (text.split() for text in ("the cat sees the dog", "the dog sees a cat"))
    assert baselines.cosine(baselines.Counter(a), baselines.Counter(b)) == pytest.approx(5 / np.sqrt(7 * 5))
    assert baselines.edit_similarity(a, b) == pytest.approx(1 - 3 / 5)
    assert baselines.edit_similarity(a, a) == 1
