"""Item features as numbers: a column of text becomes fractions of categories, a column of numbers is normalised.

A text may have several categories, separated by "|". So genres, prices, or the 300 columns of an embedding that another
model has made from the item's picture or text are all treated alike.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray


def encode(columns: Mapping[str, Sequence[str] | NDArray[np.floating]]) -> NDArray[np.float32]:
    """Columns of N items -> [N, F]. Every column has about the same weight, however many categories it has."""
    parts = [_numbers(column) if isinstance(column, np.ndarray) else _shares(column) for column in columns.values()]
    return np.concatenate(parts, 1)


def _shares(column: Sequence[str]) -> NDArray[np.float32]:
    rows = [[value.strip() for value in text.split("|") if value.strip()] for text in column]
    number = {value: index for index, value in enumerate(sorted(set(chain.from_iterable(rows))))}
    shares = np.zeros((len(rows), len(number)), dtype=np.float32)
    for row, values in enumerate(rows):
        for value in values:
            shares[row, number[value]] += 1 / len(values)
    return shares


def _numbers(column: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean 0 and standard deviation 1 over the items that have a number; 0 for the others."""
    spread = np.nanstd(column) or 1.0
    scaled: NDArray[np.float32] = np.nan_to_num((column - np.nanmean(column)) / spread)[:, None].astype(np.float32)
    return scaled
