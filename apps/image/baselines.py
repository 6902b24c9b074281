"""Simple methods that the networks must beat, fitted on the training split and evaluated on the test split."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.app import Data

from .data import Batch
from .denoising import noisy

Metrics = dict[str, dict[str, float]]
Levels = NDArray[np.int64]
PRIOR = 0.3
"""added to every count; between 0.1 and 1 it does not change the third decimal on the digits"""
MOST = 5000
"""maximum number of training pictures for logistic regression, taken evenly from the split"""


def classes(data: Data[Batch]) -> Metrics:
    """Nearest class mean, and logistic regression on the pixels (scikit-learn)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = data.facts["levels"] - 1
    (train, labels), (test, wanted) = (
        (_flat(split) / scale, np.asarray(_dataset(split).labels)) for split in (data.train, data.test)
    )
    known = np.unique(labels)
    means = np.stack([train[labels == label].mean(0) for label in known])
    distances = (means**2).sum(1) - 2 * test @ means.T
    rows = np.linspace(0, len(labels) - 1, min(MOST, len(labels))).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 iterations are close enough
        regression = LogisticRegression(max_iter=300).fit(train[rows], labels[rows])
    return {
        "nearest class mean": {"accuracy": float((known[distances.argmin(1)] == wanted).mean())},
        "logistic regression": {"accuracy": float(regression.score(test, wanted))},
    }


def bits(data: Data[Batch], keep: int) -> Metrics:
    """Bits per pixel of three count-based models: the level at each position; the level given its left neighbour; the
    level given its left neighbour at each position, smoothed towards the first where counts are low.

    Args:
        data: grey pictures.
        keep: number of the first row that is filled in.
    """
    train, test, levels = _grey(data.train), _grey(data.test), data.facts["levels"]
    marginal = _marginal(train, levels)
    methods = {"each place by itself": marginal, "Markov": _markov(train, levels)}
    if levels <= 32:  # more levels would be gigabytes of pairs that mostly never occur
        methods["Markov at each place"] = _markov_by_place(train, levels, marginal)
    found = {name: -np.log2(method(test)) for name, method in methods.items()}
    return {
        name: {"bits_per_pixel": float(bits.mean()), "bits_per_pixel_below": float(bits[:, keep:].mean())}
        for name, bits in found.items()
    }


def denoised(data: Data[Batch], noise: float) -> Metrics:
    """The noisy picture unchanged, and after a Gaussian filter (SciPy) of the width that is best on val.

    Args:
        data: any pictures.
        noise: standard deviation of the noise.
    """
    from scipy.ndimage import gaussian_filter

    def error(split: Any, width: float) -> float:
        pixels = torch.from_numpy(np.array(_dataset(split).pixels))
        clean = (pixels / (data.facts["levels"] - 1)).float()
        found = noisy(clean, noise, torch.arange(len(clean))).numpy()
        return float(((gaussian_filter(found, (0, width, width, 0)) - clean.numpy()) ** 2).mean())

    best = min(WIDTHS, key=lambda width: error(data.val, width))
    found = {"noisy": error(data.test, 0.0), f"Gaussian filter ({best:g} pixels)": error(data.test, best)}
    return {name: {"mse": mse, "psnr": float(-10 * np.log10(mse))} for name, mse in found.items()}


WIDTHS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""candidate standard deviations of the Gaussian filter, in pixels"""
Method = Callable[[Levels], NDArray[np.float64]]
"""pictures [N, H, W] -> the probability of each pixel, [N, H, W]"""


def _marginal(train: Levels, levels: int) -> Method:
    table = np.stack([(train == level).sum(0) for level in range(levels)], -1) + PRIOR
    table = table / table.sum(-1, keepdims=True)  # [H, W, levels]
    down, right = np.indices(train.shape[1:])
    return lambda pictures: table[down, right, pictures]


def _markov(train: Levels, levels: int) -> Method:
    """The first pixel of a row follows the last one of the row above; before the very first there is black."""
    table = np.full((levels, levels), PRIOR)
    np.add.at(table, (_before(train), train), 1)
    table /= table.sum(1, keepdims=True)
    return lambda pictures: table[_before(pictures), pictures]


def _markov_by_place(train: Levels, levels: int, marginal: Method) -> Method:
    down, right = np.indices(train.shape[1:])
    pairs = np.zeros((*train.shape[1:], levels, levels))
    np.add.at(pairs, (down, right, _before(train), train), 1)
    total = pairs.sum(-1)
    strength = 10.0

    def probability(pictures: Levels) -> NDArray[np.float64]:
        before = _before(pictures)
        counted = pairs[down, right, before, pictures] + strength * marginal(pictures)
        found: NDArray[np.float64] = counted / (total[down, right, before] + strength)
        return found

    return probability


def _before(pictures: Levels) -> Levels:
    flat = pictures.reshape(len(pictures), -1)
    return np.pad(flat, ((0, 0), (1, 0)))[:, :-1].reshape(pictures.shape)


def _dataset(split: Any) -> Any:
    return split.dataset


def _flat(split: Any) -> NDArray[Any]:
    pixels = _dataset(split).pixels
    return np.asarray(pixels).reshape(len(pixels), -1)


def _grey(split: Any) -> Levels:
    return np.asarray(_dataset(split).pixels[..., 0], dtype=np.int64)
