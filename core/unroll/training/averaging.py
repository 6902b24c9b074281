"""Weight averaging: an exponential moving average for any optimiser, and NT-ASGD with its own trigger.

The means are computed by torch.optim.swa_utils, and kept in the state of the optimiser, so that they are saved and
resumed with it. torch's AveragedModel would keep them in a deep copy of the model, which is another model: what
training sets on the model apart from weights and buffers does not get there, and one under `weight_norm` cannot be
copied.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn


class NTASGD(SGD):
    """Non-monotonically triggered averaged SGD (Merity, Keskar and Socher 2017, algorithm 1).

    Plain SGD until an evaluation is worse than the best one of those that lie more than `patience` back; from then on
    the mean of all weights is kept beside them. The mean is what is evaluated and saved; training continues from the
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
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it
        """Take one SGD step and update the average."""
        loss: float | None = super().step(closure)
        group = self.param_groups[0]
        if group["averaged_steps"] is not None:
            _update(self, get_swa_multi_avg_fn(), group["averaged_steps"])
            group["averaged_steps"] += 1
        return loss

    def observe_score(self, score: float, better: Callable[[float, float | None], bool]) -> None:
        """Start averaging once the evaluation score has stopped improving."""
        group = self.param_groups[0]
        earlier = group["scores"][: -self.patience]
        if group["averaged_steps"] is None and any(better(old, score) for old in earlier):
            self.begin()
        group["scores"].append(score)

    def begin(self) -> None:
        """Start averaging at the next step."""
        self.param_groups[0]["averaged_steps"] = 0
        for parameter in _parameters(self):
            self.state[parameter]["mean"] = parameter.detach().clone()


def keep_mean(optimizer: Optimizer, decay: float) -> None:
    """Make `optimizer` maintain an exponential moving average of the weights from now on.

    mean += (1 - d) (weights - mean) after each step, with d = min(decay, (1 + n) / (10 + n)) in the n-th step, so that
    the first weights are forgotten soon; later it covers about the last 1 / (1 - decay) steps. A parameter that gets
    its first gradient late is averaged from there on.
    """
    optimizer.param_groups[0]["mean_steps"] = 0

    @torch.no_grad()
    def after_step(*_: Any) -> None:
        group = optimizer.param_groups[0]
        count = group["mean_steps"] = group["mean_steps"] + 1
        _update(optimizer, get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count))), count)
        for parameter in _parameters(optimizer):
            # Before its first gradient, an entry in its state would keep Adam from making its own.
            if "mean" not in optimizer.state.get(parameter, {}) and parameter.grad is not None:
                optimizer.state[parameter]["mean"] = parameter.detach().clone()

    optimizer.register_step_post_hook(after_step)


@contextmanager
def averaged(optimizer: Optimizer) -> Iterator[None]:
    """Context in which the parameters are those to evaluate: their average, if the optimiser maintains one."""
    own = [(p, p.detach().clone()) for p in _parameters(optimizer) if "mean" in optimizer.state.get(p, {})]
    try:
        with torch.no_grad():
            for parameter, _ in own:
                parameter.copy_(optimizer.state[parameter]["mean"])
        yield
    finally:
        with torch.no_grad():
            for parameter, value in own:
                parameter.copy_(value)


def _update(optimizer: Optimizer, average: Callable[..., None], count: int) -> None:
    """Let one of torch's functions add the weights as they are now to the means, which hold `count` already."""
    pairs = [(optimizer.state[p]["mean"], p) for p in _parameters(optimizer) if "mean" in optimizer.state.get(p, {})]
    if pairs:
        means, weights = map(list, zip(*pairs, strict=True))
        average(means, weights, count)


def _parameters(optimizer: Optimizer) -> Iterator[torch.nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def observe_score(optimizer: Optimizer, score: float, better: Callable[[float, float | None], bool]) -> None:
    """Pass an evaluation's score to an optimiser that uses it."""
    if isinstance(optimizer, NTASGD):
        optimizer.observe_score(score, better)
