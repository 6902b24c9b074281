"""How every picture is drawn: text as it is written, and without it the work continues.

Names of classes, words, captions and runs are the user's. Matplotlib reads whatever stands between two dollar signs as
mathematics: "$10_-_$20" then raises, and "$5 to $9" loses its dollars. Within `as_written` nothing is read that way.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatterMathtext

from unroll.errors import noted

DPI = 110


@contextmanager
def as_written() -> Iterator[None]:
    """Around the making of figures: text that is added to them is never parsed as mathematics."""
    with mpl.rc_context({"text.parse_math": False}):
        yield


def png(figure: Figure) -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    with as_written():
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                    axis.set_major_formatter(_Plain(axis.get_major_formatter()))
                if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                    axis.set_minor_formatter(_Plain(axis.get_minor_formatter()))
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def pngs(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """The files of pictures by their names; one that cannot be drawn is left out, with a note."""
    made = {}
    for name, figure in figures.items():
        with noted(f"picture {name}"):
            made[name] = png(figure)
    return made


class _Plain(Formatter):
    """Powers of ten as numbers, where a formatter would have written them as mathematics."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def set_locs(self, locs: Any) -> None:
        self._wrapped.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if self._wrapped(x, pos) else ""
