"""Comparison of a model with its application's baselines: measures them, and warns if the model does not beat one."""

import math
from collections.abc import Mapping
from typing import Any

from unroll.app import App, Data, Score
from unroll.console import number
from unroll.errors import noted

Baselines = Mapping[str, Mapping[str, float]]
"""method -> its metrics on the test split, by bare name"""


def measured(app: App, config: Any, data: Data) -> Baselines:
    """The baselines that the application's networks must beat; none, with a note, if they cannot be measured."""
    if app.baselines:
        with noted(f"baselines of {app.name}"):
            return app.baselines(config, data)
    return {}


def unbeaten(score: Score, metrics: Mapping[str, float], baselines: Baselines) -> dict[str, float]:
    """The baselines whose score the model does not beat, best first: baseline -> its score."""
    found = {
        method: row[score.name]
        for method, row in baselines.items()
        # A score that is NaN beats nothing, and need not be beaten.
        if not math.isnan(row.get(score.name, math.nan)) and not score.better(metrics[score.name], row[score.name])
    }
    return dict(sorted(found.items(), key=lambda one: one[1], reverse=score.mode == "max"))


def warning(score: Score, metrics: Mapping[str, float], baselines: Baselines) -> str | None:
    """The sentence for a model that does not beat every baseline; None for one that does."""
    found = unbeaten(score, metrics, baselines)
    if not found:
        return None
    better = ", ".join(f"{method} has {number(value)}" for method, value in found.items())
    many = f"{len(found)} of {len(baselines)} baselines" if len(baselines) > 1 else "its baseline"
    return (
        f"this model does not beat {many}: its test/{score.name} is {number(metrics[score.name])}, {better} "
        f"({'lower' if score.mode == 'min' else 'higher'} is better); train it for longer, or on more data"
    )
