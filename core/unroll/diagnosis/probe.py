"""Probing the gradient of an application's model on a real batch, without side effects.

The weights, their gradients, the mode and all random states are afterwards what they were before: a training that is
probed gives the same bits as one that is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from unroll.app import App, Step
from unroll.errors import UserError
from unroll.recurrence.gates import Activation, activations
from unroll.recurrence.gradients import CellGradients, NotRead, gradients
from unroll.recurrence.limited_context import limited_context
from unroll.recurrence.lyapunov import Growth, growth
from unroll.recurrence.recording import Call, longest, record
from unroll.recurrence.rnn import Recurrent
from unroll.recurrence.state import detach
from unroll.training.evaluation import device_of, loss_over, untouched

WORTH = 0.02
"""a memory is long enough when no more than this share of what memory is worth is lost"""


@dataclass(frozen=True)
class Need:
    """What the loss is when the state is reset n steps before every step that is read.

    Attributes:
        lags: n, ascending from 0.
        losses: the mean loss with that memory.
        full: the mean loss with all of it.
    """

    lags: tuple[int, ...]
    losses: tuple[float, ...]
    full: float

    @property
    def worth(self) -> float:
        """By how much the loss rises without any memory, relative to the loss; at least 0."""
        return max(0.0, (self.losses[0] - self.full) / max(abs(self.full), 1e-12))

    @property
    def steps(self) -> int:
        """The shortest of the memories from which on less than 2 % of what memory is worth is lost.

        0 where memory as a whole is worth less than 1 % of the loss: then the model does not use it.
        """
        if self.worth < 0.01:
            return 0
        limit = self.full + WORTH * (self.losses[0] - self.full)
        enough = [loss <= limit for loss in self.losses]
        short = max((i for i, fine in enumerate(enough) if not fine), default=-1)
        return self.lags[min(short + 1, len(self.lags) - 1)]


@dataclass
class NetworkProbe:
    """What was seen of one `Recurrent` of a model.

    Attributes:
        name: of the module; empty where the model itself is the network.
        steps: of the longest row.
        carried: whether the batch is a window of a longer stream, whose state is carried on: truncated BPTT.
        cells, growth, activations: of each cell.
        loss: of the batch.
    """

    name: str
    steps: int
    carried: bool
    cells: list[CellGradients]
    growth: list[Growth]
    activations: list[list[Activation]]
    loss: float


def probe(app: App, model: nn.Module, batch: Any, state: Any = None, **options: Any) -> list[NetworkProbe]:
    """Every `Recurrent` that takes part in the loss of a batch.

    Args:
        app: supplies `step`.
        model: probed in eval mode, that is without dropout and augmentation.
        batch: as the application's loaders give it.
        state: what the batch before it carried.
        options: `rows`, `targets` and `shares` of unroll.recurrence.gradients.gradients.

    Raises:
        UserError: the model holds no `Recurrent`, none takes part in the loss, the loss is not finite, or a network
            cannot be run again as it ran.
    """
    if not any(isinstance(module, Recurrent) for module in model.modules()):
        raise UserError(f"{app.name}: {type(model).__name__} holds no unroll.recurrence.Recurrent to look at")
    with untouched(model), torch.enable_grad():
        with record(model) as calls:
            step = app.step(model, move_data_to_device(batch, device_of(model)), detach(state))
        if not torch.isfinite(step.loss):
            raise UserError(f"{app.name}: the loss of the probed batch is {step.loss.item()}")
        seen = [_look(app.name, name, made, step, options) for name, made in calls.items()]
    found = [probe for probe in seen if probe is not None]
    if not found:
        raise UserError(f"{app.name}: the loss depends on no unroll.recurrence.Recurrent of the model")
    return found


def _look(app: str, name: str, made: Sequence[Call], step: Step, options: Mapping[str, Any]) -> NetworkProbe | None:
    """None for a network that did not run, or that the loss does not depend on."""
    call = longest(made)
    if call is None:
        return None
    try:
        reached = gradients(step.loss, call, **options)
    except NotRead:
        return None
    except ValueError as error:
        raise UserError(f"{app}: the gradient cannot be followed through {name or 'the network'}: {error}") from error
    cells = [cell for cell in reached if any(bool((norms > 0).any()) for norms in cell.norms.values())]
    growths, gates = [growth(cell) for cell in cells], [_activations(cell) for cell in cells]
    steps, carried = int(call.lengths.max()), step.state is not None
    return NetworkProbe(name, steps, carried, cells, growths, gates, float(step.loss.detach())) if cells else None


def need(
    app: App, model: nn.Module, batches: Sequence[tuple[Any, Any]], lags: Sequence[int] | None = None
) -> dict[str, Need]:
    """For each `Recurrent` that runs over whole sequences: the loss as a function of how far back it may look.

    Args:
        app: supplies `step`.
        model: in eval mode for the while.
        batches: (batch, carried state) pairs; the losses are means over them, weighted by `Step.size`.
        lags: memories to try, in steps; the powers of two that fit if not given. (Within a window most steps still see
            the carried state when the memory is nearly as long: there, up to half of the window.)

    Where the state is carried, a network never sees an initial state; what is put in its place is another row's state.
    A network that is run step by step, as some decoders are, feeds on its own outputs, and is left out.
    """
    networks = {name: module for name, module in model.named_modules() if isinstance(module, Recurrent)}
    moved = [(move_data_to_device(batch, device_of(model)), detach(state)) for batch, state in batches]
    with untouched(model), torch.no_grad():
        with record(model) as calls:
            full = loss_over(app, model, moved)
        wanted = sorted({0, *(_memories(calls, carried=moved[-1][1] is not None) if lags is None else lags)})
        whole = [name for name, made in calls.items() if made and all(call.steps > 1 for call in made)]
        return {
            name: Need(tuple(wanted), tuple(_short(app, model, moved, networks[name], n) for n in wanted), full)
            for name in whole
        }


def _memories(calls: Mapping[str, list[Call]], carried: bool) -> list[int]:
    steps = max((call.steps for made in calls.values() for call in made), default=0)
    return [2**power for power in range(steps.bit_length()) if 2**power < (steps / 2 if carried else steps)]


def _short(app: App, model: nn.Module, batches: Sequence[tuple[Any, Any]], network: Recurrent, memory: int) -> float:
    carried = any(state is not None for _, state in batches)
    with limited_context(network, memory, mixed=carried):
        return loss_over(app, model, batches)


def scalars(probes: Sequence[NetworkProbe]) -> dict[str, float]:
    """The numbers of a probe to log as curves, by name; the extreme value over networks and cells."""
    decays = [[cell.longest()[1] for cell in probe.cells] for probe in probes]
    longest_reach = [max(decay.reach()[0] for decay in network) for network in decays]
    growths = [g.factor for probe in probes for g in probe.growth]
    gates = [a for probe in probes for cell in probe.activations for a in cell]
    values = {
        "probe/reach": min(longest_reach),
        "probe/half_life": min(max(decay.half_life()[0] for decay in network) for network in decays),
        "probe/growth": max(growths),
        "probe/loudest": max(loudest(decay.left) for network in decays for decay in network),
    }
    if gates:
        values["probe/saturated"] = max(gate.saturated for gate in gates)
    for name in ("forget gate", "reset and update gate"):
        if means := [gate.mean for gate in gates if gate.name == name]:
            values[f"probe/{name.replace(' ', '_')}"] = sum(means) / len(means)
    return values


def loudest(left: Tensor) -> float:
    """The largest gradient at any lag from 1 on, relative to lag 0."""
    return float(left[1:].max()) if len(left) > 1 else 1.0


def _activations(cell: CellGradients) -> list[Activation]:
    steps = torch.arange(1, len(cell.trace.made) + 1)[:, None]
    return activations(cell.trace.cell, cell.trace.squashed, steps <= cell.lengths)
