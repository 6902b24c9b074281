"""Averaging the weights over the last stretch of training."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.optim import SGD, Optimizer


class NTASGD(SGD):
    """Non-monotonically triggered averaged SGD (Merity, Keskar and Socher 2017, algorithm 1).

    Plain SGD until an evaluation is worse than the best one of those that lie more than `patience` back; from then on
    the mean of all weights is kept beside them. The mean is what is evaluated and saved; training goes on from the
    weights themselves. All of this is in the state dict, so that it survives a restart.

    Args:
        params, lr, weight_decay: of torch.optim.SGD.
        patience: evaluations (n in the paper).
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0, patience: int = 5) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.patience = patience
        self.param_groups[0].update(scores=[], averaged_steps=None)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of SGD, and its share in the mean."""
        loss: float | None = super().step(closure)
        group = self.param_groups[0]
        if group["averaged_steps"] is not None:
            group["averaged_steps"] += 1
            for parameter in self._parameters():
                self.state[parameter]["mean"].lerp_(parameter, 1 / group["averaged_steps"])
        return loss

    def judge(self, score: float, better: Callable[[float, float | None], bool]) -> None:
        """Told of every evaluation's score: begins to average when it has stopped getting better."""
        group = self.param_groups[0]
        earlier = group["scores"][: -self.patience]
        if group["averaged_steps"] is None and any(better(old, score) for old in earlier):
            self.begin()
        group["scores"].append(score)

    def begin(self) -> None:
        """Average from the next step on."""
        self.param_groups[0]["averaged_steps"] = 0
        for parameter in self._parameters():
            self.state[parameter]["mean"] = parameter.detach().clone()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the parameters are the mean, once there is one."""
        if not self.param_groups[0]["averaged_steps"]:
            yield
            return
        own = [(parameter, parameter.detach().clone()) for parameter in self._parameters()]
        try:
            with torch.no_grad():
                for parameter, _ in own:
                    parameter.copy_(self.state[parameter]["mean"])
            yield
        finally:
            with torch.no_grad():
                for parameter, value in own:
                    parameter.copy_(value)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (parameter for group in self.param_groups for parameter in group["params"])


def averaged(optimizer: Optimizer) -> AbstractContextManager[None]:
    """Within the block the parameters are what is to be evaluated: their mean, where the optimiser keeps one."""
    return optimizer.averaged() if isinstance(optimizer, NTASGD) else nullcontext()


def judge(optimizer: Optimizer, score: float, better: Callable[[float, float | None], bool]) -> None:
    """Tell an optimiser that wants to know how an evaluation went."""
    if isinstance(optimizer, NTASGD):
        optimizer.judge(score, better)
