"""Simple methods that the network must beat, evaluated in the same way on the same clicks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .catalogue import Catalogue
from .data import Clicks
from .results import Results, history

SHRINK = 20.0
"""item-kNN: shrinkage, which gives less weight to pairs that rarely occur together"""
Scorer = Callable[[Tensor], np.ndarray]
"""items seen before each prediction [P, T], padded with the last one -> scores of all items [P, N]"""


def baselines(test: Any, catalogue: Catalogue, *, exclude_seen: bool = False) -> dict[str, dict[str, float]]:
    """Test metrics by method: popularity, item-kNN over the session, a first-order Markov chain.

    Args:
        test: loader of the test split, in whose folder the training split is as well.
        catalogue: the items.
        exclude_seen: do not recommend items that the session has already clicked.
    """
    train = Clicks(test.dataset.folder.with_name("train"))
    popular = catalogue.counts / catalogue.counts.sum()
    methods = {"popularity": _popularity(popular), "item-knn": _knn(train, popular), "markov": _markov(train, popular)}
    results = {name: Results(catalogue) for name in methods}
    for batch in test:
        seen = history(batch).cpu()
        for name, method in methods.items():
            results[name].add(batch, partial(_scores, method, seen, exclude_seen))
    return {name: result.metrics() for name, result in results.items()}


def _scores(method: Scorer, seen: Tensor, exclude_seen: bool, part: slice) -> Tensor:
    scores = torch.from_numpy(method(seen[part]))
    return scores.scatter(1, seen[part], -torch.inf) if exclude_seen else scores


def _popularity(popular: np.ndarray) -> Scorer:
    return lambda seen: np.tile(popular, (len(seen), 1))


def _markov(train: Clicks, popular: np.ndarray) -> Scorer:
    """How often each item has followed the last one, with popularity to break ties."""
    inside = ~train.starts[1:].numpy()
    before, after = train.items[:-1].numpy()[inside], train.items[1:].numpy()[inside]
    counts = sparse.csr_array((np.ones(len(before)), (before, after)), shape=(len(popular), len(popular)))
    return lambda seen: counts[seen[:, -1].numpy()].toarray() + popular


def _knn(train: Clicks, popular: np.ndarray) -> Scorer:
    """Items that occur in the same sessions as those clicked: cosine similarity, with recent clicks weighted most.

    Source: Hidasi and others, 2016 (item-KNN, with shrinkage); here over the whole session, not only the last click.
    """
    session = train.starts.numpy().cumsum() - 1
    occurs = sparse.csr_array((np.ones(len(session)), (session, train.items.numpy())), shape=(len(train), len(popular)))
    occurs.data[:] = 1.0
    together = (occurs.T @ occurs).tocoo()
    support = together.diagonal()
    row, column = together.coords
    similar = np.where(row == column, 0, together.data / np.sqrt((support[row] + SHRINK) * (support[column] + SHRINK)))
    similarity = sparse.csr_array((similar, (row, column)), shape=together.shape)

    def scores(seen: Tensor) -> np.ndarray:
        items = seen.numpy()
        # The padding repeats the last click: its first occurrence there is the click itself.
        clicks = items.shape[1] - (items[:, ::-1] == items[:, -1:]).cumprod(1).sum(1, keepdims=True) + 1
        age = clicks - 1 - np.arange(items.shape[1])
        weights = np.where(age >= 0, 1 / (1.0 + np.maximum(age, 0)), 0)
        rows = np.repeat(np.arange(len(items)), items.shape[1])
        clicked = sparse.csr_array((weights.reshape(-1), (rows, items.reshape(-1))), shape=(len(items), len(popular)))
        ranked: np.ndarray = (clicked @ similarity).toarray() + 1e-6 * popular
        return ranked

    return scores
