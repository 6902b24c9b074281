"""Agreement of scores with references: Pearson, Spearman, mean squared error, each with a bootstrap interval."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Rows = NDArray[np.float64]
RESAMPLES = 1000
AT_ONCE = 1 << 20
"""numbers in memory at a time in resampling"""


def pearson(x: Rows, y: Rows) -> Rows:
    """Correlation along the last axis, [..., N] -> [...]; zero where one side never changes."""
    x = x - x.mean(-1, keepdims=True)
    y = y - y.mean(-1, keepdims=True)
    product = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return np.asarray(np.where(product > 0, (x * y).sum(-1) / np.where(product > 0, product, 1), 0.0))


def spearman(x: Rows, y: Rows) -> Rows:
    """Pearson's correlation of the ranks; equal values share their mean rank."""
    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def squared_error(x: Rows, y: Rows) -> Rows:
    """Mean of the squared differences."""
    return np.asarray(np.square(x - y).mean(-1))


def measure(references: Sequence[float], predictions: Sequence[float], seed: int = 0) -> dict[str, float]:
    """pearson, spearman and mse, and of each the bounds of the middle 95 % over resampled pairs (Efron's percentiles).

    Args:
        references: N scores.
        predictions: N scores, on the same scale.
        seed: of the resampling.
    """
    x, y = np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    by_name = {"pearson": pearson, "spearman": spearman, "mse": squared_error}
    values = {name: float(function(x, y)) for name, function in by_name.items()}
    for name, resampled in _resampled(x, y, by_name, seed).items():
        values[f"{name}_low"], values[f"{name}_high"] = (float(q) for q in np.quantile(resampled, (0.025, 0.975)))
    return values


def _resampled(x: Rows, y: Rows, by_name: Mapping[str, Callable[[Rows, Rows], Rows]], seed: int) -> dict[str, Rows]:
    """Each measure of RESAMPLES sets of N pairs, sampled with replacement, a few sets at a time."""
    random = np.random.default_rng(seed)
    size = max(1, AT_ONCE // len(x))
    parts: dict[str, list[Rows]] = {name: [] for name in by_name}
    for start in range(0, RESAMPLES, size):
        rows = random.integers(len(x), size=(min(size, RESAMPLES - start), len(x)))
        for name, function in by_name.items():
            parts[name].append(function(x[rows], y[rows]))
    return {name: np.concatenate(values) for name, values in parts.items()}
