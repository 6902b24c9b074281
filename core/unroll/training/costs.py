"""The cost of a training run: throughput, time spent waiting for data, and peak memory."""

import resource
import sys
from typing import Any

import torch

KEPT = ("size", "seconds", "waited", "total", "peak")


class Costs:
    """Totals over the optimiser steps of a training run, including earlier sessions of a resumed one."""

    def __init__(self) -> None:
        self.size = self.seconds = 0.0
        """amount of data, and the time between the steps that took it; evaluations are not counted, nor the first step
        after each: it has no beginning"""
        self.waited = self.total = 0.0
        """seconds that went into getting the next batch, of all seconds between steps"""
        self.peak = 0.0
        """most megabytes, of earlier sessions"""
        self._last: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {**{name: getattr(self, name) for name in KEPT}, "peak": self.memory()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in KEPT:
            setattr(self, name, state[name])

    def step(self, at: float, size: float, waited: float, total: float) -> None:
        """An optimiser step ended.

        Args:
            at: seconds of training so far.
            size: amount of its data, in `App.unit`.
            waited: seconds it waited for them.
            total: seconds since the last step was told, which `waited` is a part of.
        """
        if self._last is not None:
            self.size += size
            self.seconds += at - self._last
        self._last = at
        self.waited += waited
        self.total += total

    def interrupted(self) -> None:
        """Mark an interruption of the steps by an evaluation."""
        self._last = None

    def memory(self) -> float:
        """Peak memory of all sessions of the training so far, in megabytes."""
        return max(self.peak, peak_memory())

    @property
    def data_wait(self) -> float:
        """Fraction of the time between steps that was spent waiting for the next batch."""
        return self.waited / self.total if self.total else 0.0

    def metrics(self) -> dict[str, float]:
        """Metrics for the tracking store; throughput, in `App.unit` per second, only from consecutive steps."""
        speed = {"train/total_per_second": self.size / self.seconds} if self.seconds else {}
        return {"train/total_data_wait": self.data_wait, "train/peak_memory_mb": self.memory(), **speed}


def peak_memory() -> float:
    """Peak memory of this process so far, in megabytes: on the GPU if it used one, otherwise in total."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # bytes there, kilobytes here
