"""Comparing runs: which are comparable, and what differs between them."""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar


class Comparable(Protocol):
    """What is needed of a run; see `core.training.tracking.Logged`."""

    @property
    def status(self) -> str: ...
    @property
    def params(self) -> dict[str, str]: ...
    @property
    def metrics(self) -> dict[str, float]: ...


R = TypeVar("R", bound=Comparable)


def rank(runs: Sequence[R], metric: str, mode: Literal["min", "max"] | None) -> tuple[list[R], list[R]]:
    """(finished runs that have the metric, best first; the others).

    Args:
        runs: of one application.
        metric: `split/name`.
        mode: which direction is better; None keeps the order.
    """
    usable = [r for r in runs if r.status == "FINISHED" and math.isfinite(r.metrics.get(metric, math.nan))]
    left_out = [r for r in runs if r not in usable]
    if mode is not None:
        usable.sort(key=lambda run: run.metrics[metric], reverse=mode == "max")
    return usable, left_out


def differing(runs: Sequence[Comparable]) -> list[str]:
    """The configuration keys whose values are not the same in all runs, in the order of the configuration."""
    keys = dict.fromkeys(key for run in runs for key in run.params)
    return [key for key in keys if len({run.params.get(key) for run in runs}) > 1]
