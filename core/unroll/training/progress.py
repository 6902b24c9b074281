"""Observers of the training loop, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from unroll.training.costs import Costs


@dataclass(frozen=True)
class Position:
    """A position in the training."""

    step: int
    """optimiser steps done"""
    epoch: int
    """epochs done, or the one under way while inside it (counted from 1)"""
    epochs: int
    """epochs wanted; 0: as many as there is time for"""
    share: float
    """share of the whole training that is done, 0 to 1"""
    seconds: float
    """training time so far, evaluations and earlier sessions of this run included"""


class Observer:
    """Receives the progress of a training, as tracking and the progress line do. Subclasses override what they use."""

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        """After each optimiser step. `size`: amount of data in `App.unit`."""

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """After each evaluation on the validation split."""

    def saving(self) -> None:
        """Just before each checkpoint: what was observed up to here will not come again on a resume from it."""


Probe = Callable[[nn.Module, Any, Any, int], Mapping[str, float]]
"""(model, batch, carried state, optimiser step) -> numbers to track; it leaves no trace in the training"""

Explain = Callable[[nn.Module, Any, Any], str]
"""(model, batch, carried state) -> what is wrong with the model, in a few words; empty where nothing can be said"""


class Pruned(Exception):  # noqa: N818  (it is no error)
    """Raised by an observer: this training is not worth continuing."""


@dataclass(frozen=True)
class Fitted:
    """How a training ended."""

    position: Position
    stopped: str
    """"epochs", "minutes" or "patience": the limit that ended it"""
    best: float | None
    """best validation score"""
    best_epoch: int
    costs: Costs
    """of all its sessions"""
