"""What the network must beat: similarity of bags of words, and of the sequences of words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log, sqrt
from typing import Any

import numpy as np

from unroll.app import Data
from unroll.sequence.resumable_sampler import dataset_of

from .data import Batch
from .metrics import measure

Weights = dict[str, float]


def measured(data: Data[Batch]) -> dict[str, dict[str, float]]:
    """Metrics on the test split of cosines of word counts and of TF-IDF, and of NLTK's edit distance between words.

    The first two ignore word order. Pearson and Spearman need no scale; for the error, each similarity is mapped to the
    scores' scale by the line that fits the training pairs best.
    """
    train, test = (_records(dataset_of(batches)) for batches in (data.train, data.test))
    frequency = Counter(word for record in train for side in "ab" for word in set(record[side].split()))
    inverse = {word: log(2 * len(train) / count) + 1 for word, count in frequency.items()}
    rare = log(2 * len(train)) + 1
    methods = {
        "bag of words": lambda a, b: cosine(Counter(a), Counter(b)),
        "tf-idf": lambda a, b: cosine(_weighted(a, inverse, rare), _weighted(b, inverse, rare)),
        "edit distance": edit_similarity,
    }
    return {name: _measure(method, train, test) for name, method in methods.items()}


def cosine(a: "Weights | Counter[str]", b: "Weights | Counter[str]") -> float:
    """Of two bags of weighted words."""
    product = sum(weight * b[word] for word, weight in a.items() if word in b)
    return product / sqrt(sum(w * w for w in a.values()) * sum(w * w for w in b.values()))


def edit_similarity(a: Sequence[str], b: Sequence[str]) -> float:
    """1 for the same words in the same order, 0 if every word of the longer sentence must be edited."""
    from nltk.metrics.distance import edit_distance  # not at the top: predicting needs no NLTK, which takes a second

    return 1 - float(edit_distance(a, b)) / max(len(a), len(b))


def _weighted(words: Iterable[str], inverse: Weights, rare: float) -> Weights:
    return {word: count * inverse.get(word, rare) for word, count in Counter(words).items()}


def _records(dataset: Any) -> list[dict[str, Any]]:
    return [dataset[index] for index in range(len(dataset))]


def _measure(method: Any, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, float]:
    def similarities(records: list[dict[str, Any]]) -> list[float]:
        return [method(record["a"].split(), record["b"].split()) for record in records]

    # A few thousand pairs are enough for the line.
    some = train[:4000]
    slope, offset = np.polyfit(similarities(some), [record["score"] for record in some], 1)
    predictions = slope * np.array(similarities(test)) + offset
    return measure([record["score"] for record in test], predictions.tolist())
