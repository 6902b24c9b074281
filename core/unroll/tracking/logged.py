"""Runs as stored."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from unroll.tracking.names import spoken


@dataclass(frozen=True)
class Logged:
    """A run as stored."""

    id: str
    name: str
    status: str
    started: float
    """seconds since 1970"""
    seconds: float | None
    """from start to end; None while it is running"""
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: str = ""
    """URI of its files"""


def duration(started: int, ended: int | None) -> float | None:
    """Seconds between two times in milliseconds; None if there is no second one yet."""
    return None if ended is None else (ended - started) / 1000


def as_logged(metrics: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Metrics under our names. MLflow's databases store infinity as the largest finite number."""
    return {
        spoken(name): math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
        for name, value in metrics
    }
