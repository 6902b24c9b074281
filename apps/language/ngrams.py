"""The baseline: an n-gram model with interpolated Kneser-Ney smoothing.

    p(w | c) = max(count(c w) - D, 0) / total(c) + D types(c) / total(c) p(w | c without its first word)

Below the highest order, count is the number of different words that precede c w. Kneser and Ney, 1995, as interpolated
by Chen and Goodman, 1998. The probabilities are those of `nltk.lm.KneserNeyInterpolated` (the tests compare them), but
that library scans all n-grams for every word it scores; here whole arrays are counted by sorting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.app import Data
from unroll.sequence.resumable_sampler import dataset_of
from unroll.sequence.stream import Window
from unroll.sequence.tokens import Tokeniser

from .metrics import Total

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_COUNTED = 20_000_000
"""tokens of training text that are counted in memory"""
DISCOUNTS: tuple[float, ...] = tuple(np.arange(0.1, 1.0, 0.05).tolist())


@dataclass(frozen=True)
class _Order:
    """All k-grams of the training text, numbered."""

    keys: Integers
    """sorted: number of the (k-1)-gram before the last word, times V, plus the last word"""
    contexts: Integers
    """number of each k-gram's (k-1)-gram"""
    suffixes: Integers
    """number of each k-gram's last k-1 words"""
    counts: Integers


class KneserNey:
    """An n-gram model of a stream of tokens.

    Args:
        tokens: the training text, [N] numbers below V, at least `order` of them.
        words: V.
        order: n.
    """

    def __init__(self, tokens: Integers, words: int, order: int = 5) -> None:
        self.words = words
        self._orders = list(_orders(np.asarray(tokens, dtype=np.int64), words, order))
        counts = [_continuations(self._orders[k + 1], len(o.keys)) for k, o in enumerate(self._orders[:-1])]
        self._counts = [*counts, self._orders[-1].counts]
        bases = [1, *(len(o.keys) for o in self._orders[:-1])]
        self._totals = [_by_context(o, c, n) for o, c, n in zip(self._orders, self._counts, bases, strict=True)]
        self._types = [
            _by_context(o, np.ones_like(c), n) for o, c, n in zip(self._orders, self._counts, bases, strict=True)
        ]

    def probabilities(self, tokens: Integers, discount: float) -> Floats:
        """p of each token given the n - 1 before it, [N]; at the beginning there are fewer."""
        return self._probabilities(self._look_up(np.asarray(tokens, dtype=np.int64)), discount)

    def tuned(self, tokens: Integers) -> float:
        """The one of DISCOUNTS under which a held-out text is most probable."""
        found = self._look_up(np.asarray(tokens, dtype=np.int64))
        return max(DISCOUNTS, key=lambda discount: float(np.log(self._probabilities(found, discount)).sum()))

    def _look_up(self, tokens: Integers) -> list[tuple[Integers, Integers, Integers]]:
        """(count, total, types) of each token after its context, by order; zeros where the context is unknown."""
        found, before = [], np.zeros(len(tokens), dtype=np.int64)
        for order, counts, totals, types in zip(self._orders, self._counts, self._totals, self._types, strict=True):
            keys = np.where(before >= 0, before * self.words + tokens, -1)
            places = np.searchsorted(order.keys, keys).clip(max=len(order.keys) - 1)
            known = order.keys[places] == keys
            context = before.clip(min=0)
            found.append(
                (
                    np.where(known, counts[places], 0),
                    np.where(before >= 0, totals[context], 0),
                    np.where(before >= 0, types[context], 0),
                )
            )
            before = np.concatenate(([-1], np.where(known, places, -1)[:-1]))
        return found

    def _probabilities(self, found: list[tuple[Integers, Integers, Integers]], discount: float) -> Floats:
        (count, total, types), *higher = found
        probability = count / total
        if np.count_nonzero(self._counts[0]) < self.words:
            # Otherwise some word would be impossible: the lowest order is itself mixed with the uniform distribution.
            probability = np.maximum(count - discount, 0) / total + discount * types / total / self.words
        for count, total, types in higher:
            known = total > 0
            some = np.where(known, total, 1)
            mixed = np.maximum(count - discount, 0) / some + discount * types / some * probability
            probability = np.where(known, mixed, probability)
        return probability


def measured(data: Data[Window], order: int = 5) -> dict[str, float]:
    """The metrics of an n-gram model on the test stream, with the discount that fits the validation stream best."""
    tokeniser = Tokeniser.from_json(data.facts["tokeniser"])
    training, held_out, test = (dataset_of(batches).tokens for batches in (data.train, data.val, data.test))
    model = KneserNey(training[:MOST_COUNTED], len(tokeniser), order)
    nats = -np.log(model.probabilities(test, model.tuned(held_out))).sum()
    characters = int(np.asarray(tokeniser.lengths)[test].sum())
    return Total(float(nats), len(test), characters).metrics()


def _orders(tokens: Integers, words: int, order: int) -> Iterator[_Order]:
    """The k-grams of a text for k = 1 to `order`."""
    grams = np.zeros(len(tokens) + 1, dtype=np.int64)  # of the order below, by position of their last token
    for _ in range(order):
        before = grams[:-1]
        last = tokens[len(tokens) - len(before) :]
        keys, first, inverse, counts = np.unique(
            before * words + last, return_index=True, return_inverse=True, return_counts=True
        )
        # The (k-1)-gram that ends where this k-gram does is its suffix.
        yield _Order(keys, before[first], grams[1:][first], counts)
        grams = inverse


def _continuations(above: _Order, count: int) -> Integers:
    """How many different words precede each k-gram: as many (k+1)-grams have it as their suffix."""
    return np.bincount(above.suffixes, minlength=count)


def _by_context(order: _Order, values: Integers, contexts: int) -> Integers:
    return np.bincount(order.contexts, weights=values, minlength=contexts).astype(np.int64)
