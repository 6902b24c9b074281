"""A comparison as a data frame: every number by itself, and in a notebook the table that people read."""

import html
from collections.abc import Sequence

import pandas as pd

from unroll import app as apps
from unroll.comparison.groups import Comparison
from unroll.comparison.tables import exact, explained, left_out, table, title
from unroll.drawing.page import table as as_html


class ComparisonFrame(pd.DataFrame):  # type: ignore[misc]  # pandas brings no types
    """A row for each group of runs, unrounded; what is cut from it or calculated with it is a plain data frame.

    Attributes:
        comparisons: of each application, with groups, notes and the runs that are left out.
        equal: "parameters" or "seconds", where runs of equal cost were asked for.
    """

    _metadata = ("comparisons", "equal")
    comparisons: tuple[Comparison, ...]
    equal: str | None

    @property
    def notes(self) -> list[str]:
        """What a reader should know, one sentence each."""
        return [note for one in self.comparisons for note in one.notes]

    def _repr_html_(self) -> str:
        return "".join(_shown(one, self.equal) for one in self.comparisons)


def frame(comparisons: Sequence[Comparison], equal: str | None = None) -> ComparisonFrame:
    """The comparisons of some applications, below each other."""
    made = ComparisonFrame([row for one in comparisons for row in exact(one)])
    made.comparisons, made.equal = tuple(comparisons), equal
    return made


def _shown(found: Comparison, equal: str | None) -> str:
    rows = table(found, apps.load(found.app).unit)
    said = [*([explained(found)] if len(found.groups) > 1 else []), *(f"note: {note}" for note in found.notes)]
    said += left_out(found)
    shown = as_html(rows) if rows else "<p>no finished run to compare</p>"
    lines = "".join(f"<br>{html.escape(line)}" for line in said)
    return f"<p><b>{html.escape(title(found, equal))}</b></p>{shown}<p><small>{lines}</small></p>"
