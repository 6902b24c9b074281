"""The confusion matrix of a classifier, as a figure."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

PALE = 0.6
"""share from which on a field is so dark that its number is written in white"""


def confusion(pairs: Iterable[tuple[str, str]], classes: Sequence[str], what: str = "examples") -> Figure:
    """Counts of (right class, given class), coloured by their share of the right class.

    Args:
        pairs: one for each example, all of them names in `classes`.
        classes: rows and columns, in their order; up to about 30 can be read.
        what: the examples are, in the plural, for the title.

    Raises:
        KeyError: a name that is not in `classes`.
    """
    number = {name: place for place, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)), int)
    for right, given in pairs:
        table[number[right], number[given]] += 1
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = max(5.0, 0.5 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if shares[row, column] > PALE else "black"
        axes.text(column, row, f"{table[row, column]}", ha="center", va="center", color=colour, fontsize=9)
    turned = max(map(len, classes)) > 3
    axes.set_xticks(range(len(classes)), classes, rotation=45 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(len(classes)), classes)
    right_ones, all_ones = int(np.trace(table)), int(table.sum())
    title = f"accuracy {right_ones / max(all_ones, 1):.2%} ({all_ones - right_ones} of {all_ones:,} {what} wrong)"
    axes.set(xlabel="class given by the model", ylabel="right class", title=title)
    return figure
