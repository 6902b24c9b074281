"""Records recurrent networks while a model runs, and reruns one with every state of every cell as a graph node.

    with record(model) as calls:
        loss = ...                       # any use of the model, with gradients
    call = longest(calls["encoder"])

See gradients.py for what is computed from it. Recording costs only memory; the networks keep their fast path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence import state as states
from unroll.recurrence.cell import Cell, State, Step
from unroll.recurrence.gates import Squashed, squashing
from unroll.recurrence.rnn import Recurrent
from unroll.recurrence.row_mask import RowMask


@dataclass
class Call:
    """One run of a network over a sequence, in one piece or in several that pass on their state.

    Attributes:
        network: the network.
        given: the state before the first step, or None for the initial one.
        x: its input, [T', B, D, *extent] of each piece.
        row_masks: lengths and resets of each piece.
        outputs: [T', B, H, *extent] of each piece, nodes of the model's graph.
        state: what the last piece returned, likewise.
    """

    network: Recurrent
    given: Any
    x: list[Tensor] = field(default_factory=list)
    row_masks: list[RowMask] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    state: Any = None

    @property
    def steps(self) -> int:
        """T, over all pieces."""
        return sum(len(x) for x in self.x)

    @property
    def batch(self) -> int:
        """B."""
        return int(self.x[0].shape[1])

    @property
    def lengths(self) -> Tensor:
        """Steps of each row, [B], on the network's device."""
        lengths = self.row_masks[0].lengths
        return torch.full((self.batch,), self.steps) if lengths is None else lengths

    def resets(self, direction: int = 0) -> Tensor | None:
        """bool [T, B], rows that are reset before a step, in the order of the direction; None without resets."""
        if all(row_mask.reset is None for row_mask in self.row_masks):
            return None
        row_masks = [row_mask.backward() if direction else row_mask for row_mask in self.row_masks]
        none = [torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device) for x in self.x]
        return torch.cat(
            [no if row_mask.reset is None else row_mask.reset for row_mask, no in zip(row_masks, none, strict=True)]
        )

    def again(self, rows: Tensor) -> tuple[Tensor, Any, list[CellRecording]]:
        """Reruns the given rows, repetitions allowed: output [T, R, ...], state, and what each cell did at each step.

        Nothing outside the network is part of the graph: its inputs are constants.
        """
        x = torch.cat(self.x).detach().index_select(1, rows.to(self.x[0].device))
        given = None if self.given is None else states.select(states.detach(self.given), rows)
        reset = self.resets()
        retracer = Retracer(self.network)
        with _watched({self.network: retracer}), torch.enable_grad():
            output, state = self.network(
                x, given, lengths=self.lengths[rows.cpu()], reset=None if reset is None else reset[:, rows]
            )
        return output, state, retracer.traces


class Recorder:
    """A `StepObserver` that keeps the calls of one network.

    A call whose given state is part of the graph continues the previous one: decoding step by step or chunk by
    chunk. Any other call starts a new sequence.
    """

    def __init__(self, network: Recurrent) -> None:
        self.network = network
        self.calls: list[Call] = []

    def began(self, x: Tensor, state: Any, row_mask: RowMask) -> None:
        """StepObserver: a new call, or the next piece of the last one."""
        if not self._goes_on(state, row_mask):
            self.calls.append(Call(self.network, state))
        self.calls[-1].x.append(x)
        self.calls[-1].row_masks.append(row_mask)

    def step_of(self, cell: Cell, step: Step, x: Tensor) -> Step | None:
        """StepObserver: the fast path, except on a GPU: cuDNN has no gradient in evaluation mode."""
        return step if x.is_cuda else None

    def ended(self, output: Tensor, state: Any) -> None:
        """StepObserver: keeps the results."""
        self.calls[-1].outputs.append(output)
        self.calls[-1].state = state

    def _goes_on(self, state: Any, row_mask: RowMask) -> bool:
        if not self.calls or self.network.directions == 2 or row_mask.lengths is not None:
            return False
        before = self.calls[-1]
        if before.row_masks[-1].lengths is not None:
            return False
        return any(t.requires_grad and t.shape[states.BATCH] == before.batch for t in states.tensors(state))


@dataclass
class CellRecording:
    """One cell over all steps of a call, in the order in which it read them: step j is entry j - 1.

    Attributes:
        cell, layer, direction: which cell; direction 0 reads forwards, 1 backwards.
        x: the cell's input, [T, B, D, *extent].
        step: the step that was run: the cell's own, with zoneout around it.
        inputs: u_j of each step.
        before: the state before each step; entry 0 is S_0.
        made: the state after each step; a gradient here is the total one: that of c_j goes through h_j, too.
        nodes: the same values as separate inputs of all that follows; a gradient here holds the other states constant.
        squashed: the values of each step's squashing functions.
    """

    cell: Cell
    layer: int
    direction: int
    x: Tensor
    step: Step
    inputs: list[Tensor] = field(default_factory=list)
    before: list[State] = field(default_factory=list)
    made: list[State] = field(default_factory=list)
    nodes: list[State] = field(default_factory=list)
    squashed: list[Squashed] = field(default_factory=list)

    def run(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs `step` and records everything about it."""
        if not self.before:
            state = tuple(tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in state)
        with squashing() as squashed:
            output, made = self.step(u, state)
        nodes = tuple(tensor.view_as(tensor) for tensor in made)
        self.inputs.append(u)
        self.before.append(state)
        self.made.append(made)
        self.nodes.append(nodes)
        self.squashed.append(squashed)
        # If the output is the hidden state, both must be the same node.
        return (nodes[0] if output is made[0] else output), nodes


class Retracer:
    """A `StepObserver` that makes every state a node: the network runs step by step instead of on its fast path."""

    def __init__(self, network: Recurrent) -> None:
        self.network = network
        self.traces: list[CellRecording] = []

    def began(self, x: Tensor, state: Any, row_mask: RowMask) -> None:
        """StepObserver: nothing to keep."""

    def step_of(self, cell: Cell, step: Step, x: Tensor) -> Step:
        """StepObserver: the step, recorded."""
        layer, direction = divmod(len(self.traces), self.network.directions)
        self.traces.append(CellRecording(cell, layer, direction, x.detach(), step))
        return self.traces[-1].run

    def ended(self, output: Tensor, state: Any) -> None:
        """StepObserver: nothing to keep."""


@contextmanager
def record(model: nn.Module) -> Iterator[Mapping[str, list[Call]]]:
    """Records what every `Recurrent` in the model does in the block: name -> calls.

    Parameters must require gradients; dropout should be off (model.eval()), so that every run is the same function.
    Raises ValueError if the model holds no `Recurrent`.
    """
    recorders = {name: Recorder(m) for name, m in model.named_modules() if isinstance(m, Recurrent)}
    if not recorders:
        raise ValueError(f"{type(model).__name__} holds no unroll.recurrence.Recurrent whose gradient could be traced")
    with _watched({recorder.network: recorder for recorder in recorders.values()}):
        yield {name: recorder.calls for name, recorder in recorders.items()}


def longest(calls: Sequence[Call]) -> Call | None:
    """The call with the most steps, the first of several; None if the network did not run."""
    return max((call for call in calls if call.steps), key=lambda call: call.steps, default=None)


@contextmanager
def _watched(watches: Mapping[Recurrent, Any]) -> Iterator[None]:
    before = {network: network.observer for network in watches}
    try:
        for network, watch in watches.items():
            network.observer = watch
        yield
    finally:
        for network, watch in before.items():
            network.observer = watch
