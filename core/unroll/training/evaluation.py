"""Evaluating a model on a split, without side effects on the surrounding training."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn

from unroll.app import App, Report
from unroll.errors import UserError


def evaluate(app: App, model: nn.Module, batches: Iterable[Any]) -> Report:
    """Call `app.evaluate` in eval mode, without gradients, on the model's device; restore random states and modes.

    Raises:
        UserError: the report lacks the application's score.
    """
    with untouched(model), torch.no_grad():
        report = app.evaluate(model, (move_data_to_device(batch, device_of(model)) for batch in batches))
    if app.score.name not in report.metrics:
        raise UserError(f"{app.name}: evaluate gives {sorted(report.metrics)}, but the score is {app.score.name!r}")
    return report


def mean_loss(app: App, model: nn.Module, batches: Iterable[Any]) -> float:
    """The loss over batches, each from the initial state, in eval mode; weighted by `Step.size`."""
    with untouched(model), torch.no_grad():
        return loss_over(app, model, ((move_data_to_device(batch, device_of(model)), None) for batch in batches))


def loss_over(app: App, model: nn.Module, batches: Iterable[tuple[Any, Any]]) -> float:
    """The mean loss over (batch, carried state) pairs on the model's device, weighted by `Step.size`."""
    total = size = 0.0
    for batch, state in batches:
        step = app.step(model, batch, state)
        total, size = total + float(step.loss) * step.size, size + step.size
    return total / size


def device_of(model: nn.Module) -> torch.device:
    """Device of a model's parameters."""
    return next(model.parameters()).device


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Context in eval mode that restores the mode of every module and all random states afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with isolated_randomness():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def isolated_randomness() -> Iterator[None]:
    """Context in which drawing random numbers does not affect the random states outside."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)


def random_states() -> dict[str, Any]:
    """The states of all random generators that training may use, in a form that checkpoints support."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Set all random generators to what `random_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
