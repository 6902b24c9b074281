"""The surprisal of each token of a file, as a table and a figure."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from unroll.errors import UserError
from unroll.recurrence.state import detach
from unroll.sequence.tokens import read_blocks

from .data import BY_CHARACTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .model import LanguageModel

LONGEST = 1_000_000
"""maximum number of tokens in a file"""
STEPS = 200
"""tokens read at a time"""
COLUMNS, LINES = 72, 9
"""size of the text in the figure"""


def scores(model: "LanguageModel", path: Path) -> tuple[list[dict[str, Any]], dict[str, Figure]]:
    """Surprisal of each token in bits, given all before it, and the token that was most probable there.

    Raises:
        UserError: the file is not text, or too long.
    """
    tokeniser = model.tokeniser
    blocks = tokeniser.encode_blocks(read_blocks(path), str(path), BY_CHARACTER)
    numbers = list(chain.from_iterable(_limited(blocks, path)))
    rows: list[dict[str, Any]] = []
    for token, bits, best, probability in _read(model, numbers):
        rows.append(
            {
                "position": len(rows),
                "token": tokeniser.symbols[token],
                "surprisal_bits": round(bits, 4),
                "most_probable": tokeniser.symbols[best],
                "its_probability": round(probability, 4),
            }
        )
    curve = np.array([row["surprisal_bits"] for row in rows])
    return rows, {"surprisal": _figure(path.name, [_shown(model, number) for number in numbers], curve)}


def _limited(blocks: Iterator[list[int]], path: Path) -> Iterator[list[int]]:
    total = 0
    for block in blocks:
        total += len(block)
        if total > LONGEST:
            raise UserError(f"{path}: has more than {LONGEST:,} tokens; split it")
        yield block


def _read(model: "LanguageModel", numbers: Sequence[int]) -> Iterator[tuple[int, float, int, float]]:
    """(token, its surprisal in bits, the most probable token, its probability) of each token."""
    inputs = torch.tensor([model.tokeniser.first, *numbers], device=model.embedding.weight.device)
    state: Any = None
    for start in range(0, len(numbers), STEPS):
        targets = inputs[start + 1 : start + 1 + STEPS]
        hidden, state = model(inputs[start : start + len(targets), None], detach(state))
        log_probs = model.output.log_probs(hidden[:, 0])
        bits = -log_probs.gather(1, targets[:, None])[:, 0] / math.log(2)
        best = log_probs.max(1)
        columns = (targets, bits, best.indices, best.values.exp())
        yield from zip(*(column.tolist() for column in columns), strict=True)


def _shown(model: "LanguageModel", number: int) -> str:
    return "".join(model.tokeniser.stream([number], fresh=False)).replace("\n", "⏎")


def _figure(title: str, tokens: list[str], bits: "np.ndarray[Any, Any]") -> Figure:
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    shown = _text(above, tokens, bits)
    above.set_title(f"{textwrap.shorten(title, 60)}: its first {shown} tokens", fontsize=10)
    mean = np.cumsum(bits) / np.arange(1, len(bits) + 1)
    below.plot(bits, ".", color="0.6", markersize=2, label="each token", rasterized=True)
    below.plot(mean, color="#0072b2", linewidth=2, label=f"mean so far (whole file: {mean[-1]:.2f} bits)")
    below.set(xlabel="token", ylabel="surprisal (bits)", xlim=(0, len(bits)), ylim=(0, None))
    below.legend(fontsize=9, loc="upper right")
    return figure


def _text(axes: "Axes", tokens: list[str], bits: "np.ndarray[Any, Any]") -> int:
    """The beginning of the text, with darker backgrounds for more surprising tokens; the number of tokens shown."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    colours = ScalarMappable(Normalize(0, max(1.0, float(np.quantile(bits, 0.98)))), "Blues")
    column = line = count = 0
    for token, value in zip(tokens, bits, strict=True):
        if column + len(token) > COLUMNS:
            column, line = 0, line + 1
        if line == LINES:
            break
        colour = colours.to_rgba(value)
        axes.add_patch(Rectangle((column, line), len(token), 0.9, color=colour, linewidth=0))
        dark = 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2] < 0.5
        for letter in token[:COLUMNS]:
            axes.text(
                column + 0.5, line + 0.5, letter, ha="center", va="center", family="monospace", fontsize=8.5,
                color="white" if dark else "black", parse_math=False,
            )  # fmt: skip
            column += 1
        if token == "⏎":
            column, line = 0, line + 1
        count += 1
    axes.set(xlim=(0, COLUMNS), ylim=(LINES, 0))
    axes.axis("off")
    axes.figure.colorbar(colours, ax=axes, label="surprisal (bits)", pad=0.01)
    return count
