"""What a training costs: how much data it takes in a second, and how much memory it takes at most."""

import resource
import sys
from collections.abc import Mapping

import torch

from core.training.progress import Position


class Throughput:
    """An observer of the training loop: data per second of the optimiser steps, evaluations not counted."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._size = self._seconds = 0.0

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        """Observer: adds up. The first step, which warms up and has no beginning here, does not count."""
        if self._last is not None:
            self._size += size
            self._seconds += at.seconds - self._last
        self._last = at.seconds

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """Observer: the time of an evaluation is not that of a step."""
        self._last = None

    def saving(self) -> None:
        """Observer: nothing to do."""

    def metrics(self) -> dict[str, float]:
        """`train/total_per_second`, in `App.unit` per second; nothing where no two steps followed each other."""
        return {"train/total_per_second": self._size / self._seconds} if self._seconds else {}


def peak_memory() -> float:
    """Most memory that this process has held so far, in megabytes: on the GPU where it used one, else in all."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # bytes there, kilobytes here
