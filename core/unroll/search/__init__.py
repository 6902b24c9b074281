"""Searching settings: the points of a grid, and sweeps with Optuna."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.search.grid import GridPoint, expand, points, values
    from unroll.search.sweep import Space, TrialPruner, best, study

__all__ = ["GridPoint", "Space", "TrialPruner", "best", "expand", "points", "study", "values"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "grid": ("GridPoint", "expand", "points", "values"),
        "sweep": ("Space", "TrialPruner", "best", "study"),
    },
)
