"""Measures how much context a network needs: its state is reset n steps before every step whose output is used.

    with limited_context(network, 16):
        loss = ...          # every output of the network has seen the last 16 inputs and the current one, no more

If the loss does not change, nothing further back than n steps matters to it. No gradient is involved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence import state as states
from unroll.recurrence.cell import expand_right
from unroll.recurrence.rnn import Recurrent

CHUNK = 1 << 22
"""most input elements in the windows that are run at once"""


@contextmanager
def limited_context(network: Recurrent, memory: int, mixed: bool = False) -> Iterator[None]:
    """In the block, `network(x, ...)` computes every output from the inputs at most `memory` steps away.

    A unidirectional network sees only steps back, a bidirectional one this many on either side. A given state counts
    as the past of step 1. With `mixed`, states are reset not to the initial state but to that of the next row of the
    batch at the same step: this is for networks whose state is carried from window to window, which never see an
    initial state; another row's is as uninformative, and in distribution. It does not apply to two directions, resets,
    or a single row.

    The returned state has seen the last `memory` + 1 inputs of its row. `network.step` is not affected. The cost is
    that of `memory` + 1 ordinary runs.
    """
    whole = network.forward

    def short(
        x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        return _Windows(network, whole, x, state, lengths=lengths, reset=reset).run(memory, mixed)

    vars(network)["forward"] = short  # shadows the method, in this one network
    try:
        yield
    finally:
        del network.forward


class _Windows:
    """One call of the network, split into short ones."""

    def __init__(
        self, network: Recurrent, whole: Any, x: Tensor, state: Any, *, lengths: Tensor | None, reset: Tensor | None
    ) -> None:
        self.network, self.whole, self.x, self.state, self.reset = network, whole, x, state, reset
        self.lengths = torch.full(x.shape[1:2], len(x)) if lengths is None else lengths.cpu()
        self.states: list[Any] = []

    def _states(self) -> list[Any]:
        """The state before each step except the first."""
        found, state = [], self.state
        for x in self.x[:-1]:
            _, state = self.network.step(x, state)
            found.append(state)
        return found

    def run(self, memory: int, mixed: bool) -> tuple[Tensor, Any]:
        """The output of every step and the returned state."""
        steps, batch = self.x.shape[:2]
        if mixed and self.network.directions == 1 and self.reset is None and batch > 1:
            self.states = self._states()
        output, state = self.whole(self.x, self.state, lengths=self.lengths, reset=self.reset)
        step = torch.arange(steps).repeat_interleave(batch)
        row = torch.arange(batch).repeat(steps)
        # Steps with at most `memory` steps before them, and no backward direction, keep their output.
        wanted = (step < self.lengths[row]) & ((step > memory) | (self.network.directions == 2))
        step, row = step[wanted], row[wanted]
        output = output.clone()
        many = max(1, CHUNK // (self.x[0, 0].numel() * (2 * memory + 1)))
        for begin in range(0, len(step), many):
            t, b = step[begin : begin + many], row[begin : begin + many]
            first = (t - memory).clamp(min=0)
            after = t + 1 + (memory if self.network.directions == 2 else 0)
            part, _ = self._window(b, first, torch.minimum(after, self.lengths[b]))
            output[t, b] = part[t - first, torch.arange(len(t))]
        return output, self._state(state, memory)

    def _state(self, state: Any, memory: int) -> Any:
        rows, zero = torch.arange(self.x.shape[1]), torch.zeros_like(self.lengths)
        if bool((self.lengths <= memory + 1).all()):
            return state
        _, last = self._window(rows, (self.lengths - memory - 1).clamp(min=0), self.lengths)
        if self.network.directions == 1:
            return last
        _, first = self._window(rows, zero, self.lengths.clamp(max=memory + 1))
        return states.apply(_alternate, last, first)

    def _window(self, row: Tensor, first: Tensor, after: Tensor) -> tuple[Tensor, Any]:
        """The network over the inputs first <= t < after of the given rows, from a fresh state where first is not 0."""
        time = first + torch.arange(int((after - first).max()))[:, None]
        time = torch.minimum(time, (self.lengths[row] - 1).clamp(min=0))
        given = None
        if self.state is not None or self.states:
            extent = tuple(self.x.shape[3:])
            fresh = self.network.initial(len(row), extent)
            carried = fresh if self.state is None else states.select(self.state, row)
            other = self._of_others(row, first) if self.states and int(first.max()) else fresh
            begins = (first == 0).to(self.x.device)
            given = states.apply(lambda a, b: torch.where(expand_right(begins, a[0]), a, b), carried, other)
        reset = None if self.reset is None else self.reset[time, row]
        result: tuple[Tensor, Any] = self.whole(self.x[time, row], given, lengths=after - first, reset=reset)
        return result

    def _of_others(self, row: Tensor, first: Tensor) -> Any:
        """The state before step `first` of the next row."""
        next_row = (row + 1) % self.x.shape[1]
        every = states.apply(lambda *tensors: torch.stack(tensors), self.states[0], *self.states[1:])
        before = (first - 1).clamp(min=0)
        return states.apply(lambda tensor: tensor.transpose(0, 1)[:, before, next_row], every)


def _alternate(forward: Tensor, backward: Tensor) -> Tensor:
    """The forward cells of one state and the backward cells of the other: [layers x 2, B, ...]."""
    mixed = forward.clone()
    mixed[1::2] = backward[1::2]
    return mixed
