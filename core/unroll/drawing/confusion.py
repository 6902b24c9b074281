"""The confusion matrix of a classifier, as a figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

MOST = 30
"""classes; with more of them the matrix is not readable"""
PALE = 0.6
"""share above which a field is so dark that its count is written in white"""


def confusion(pairs: Iterable[tuple[str, str]], classes: Sequence[str], what: str = "examples") -> Figure:
    """Counts of (right class, given class), coloured by their share of the right class.

    Args:
        pairs: one for each example, all of them names in `classes`.
        classes: rows and columns, in their order; up to about MOST are readable.
        what: the examples are, in the plural, for the title.

    Raises:
        KeyError: a name that is not in `classes`.
    """
    number = {name: place for place, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)), int)
    for right, given in pairs:
        table[number[right], number[given]] += 1
    side = max(5.0, 0.5 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    draw_counts(axes, table, classes)
    right_ones, all_ones = int(np.trace(table)), int(table.sum())
    title = f"accuracy {right_ones / max(all_ones, 1):.2%} ({all_ones - right_ones} of {all_ones:,} {what} wrong)"
    axes.set(xlabel="class given by the model", ylabel="right class", title=title)
    return figure


def confusions(records: Iterable[Mapping[str, Any]], classes: Sequence[str], what: str) -> dict[str, Figure]:
    """`confusion` of the records of an evaluation, by that name; nothing if there are too many classes to read it."""
    if len(classes) > MOST:
        return {}
    return {"confusion": confusion(((one["reference"], one["prediction"]) for one in records), classes, what)}


def draw_counts(axes: Axes, table: NDArray[np.int64], names: Sequence[str]) -> None:
    """Counts [N, N] in a grid, coloured by their share of the row; `names` of rows and columns."""
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if shares[row, column] > PALE else "black"
        axes.text(column, row, f"{table[row, column]}", ha="center", va="center", color=colour, fontsize=9)
    turned = max(map(len, names)) > 3
    axes.set_xticks(range(len(names)), names, rotation=45 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(len(names)), names)
