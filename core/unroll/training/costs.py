"""What a training costs: how much data it takes in a second, how long it waits for data, how much memory it takes."""

import resource
import sys
from typing import Any

import torch

KEPT = ("size", "seconds", "waited", "total", "peak")


class Costs:
    """Sums over the optimiser steps of a training, earlier sessions of a resumed one included."""

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
        """Go on from what `state_dict` returned."""
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
        """What follows is no step: an evaluation."""
        self._last = None

    def memory(self) -> float:
        """Most memory that any session of the training has held so far, in megabytes."""
        return max(self.peak, peak_memory())

    @property
    def data_wait(self) -> float:
        """Share of the time between steps that went into getting the next batch."""
        return self.waited / self.total if self.total else 0.0

    def metrics(self) -> dict[str, float]:
        """For the tracking store; data per second, in `App.unit`, only where two steps followed each other."""
        speed = {"train/total_per_second": self.size / self.seconds} if self.seconds else {}
        return {"train/total_data_wait": self.data_wait, "train/peak_memory_mb": self.memory(), **speed}


def peak_memory() -> float:
    """Most memory that this process has held so far, in megabytes: on the GPU where it used one, else in all."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # bytes there, kilobytes here
