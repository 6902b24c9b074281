"""Groups of runs side by side: who may be compared, what can be said of the differences, and how it is shown."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.comparison.eligibility import Excluded, comparable
    from unroll.comparison.groups import Comparison, Group, compare
    from unroll.comparison.statistics import Difference, Spread, difference, power, seeds_needed
    from unroll.comparison.tables import table

__all__ = [
    "Comparison",
    "Difference",
    "Excluded",
    "Group",
    "Spread",
    "comparable",
    "compare",
    "difference",
    "power",
    "seeds_needed",
    "table",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "eligibility": ("Excluded", "comparable"),
        "groups": ("Comparison", "Group", "compare"),
        "statistics": ("Difference", "Spread", "difference", "power", "seeds_needed"),
        "tables": ("table",),
    },
)
