"""One time step per call, as in decoders, streaming and reinforcement learning: the cases of the section `step`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

import unroll
from benchmarks.peers import CELLS, KINDS, work
from benchmarks.side_by_side import Case, Pair, Run
from unroll.recurrence import from_torch

HIDDEN, BATCH = (64, 128, 256, 512), (1, 8, 40, 128)
LEAST = 0.95
"""target for every size"""
WORK = 2e6
"""operations in the calls that are timed together: a clock is too coarse for a single one"""


@dataclass(frozen=True, eq=False)
class Step:
    """The same step repeatedly, without carrying the state, so that all peers compute the same.

    Attributes:
        call: x and the state -> the output, or a tuple with the output first.
        x, state: of one step, as the call takes them.
        gradient: of the output, for forward and backward; None: without gradients.
        repeats: steps per run.
    """

    call: Callable[[Tensor, Any], Any]
    x: Tensor
    state: Any
    gradient: Tensor | None
    repeats: int

    def output(self) -> Tensor:
        """The output of one step."""
        with torch.set_grad_enabled(self.gradient is not None):
            result = self.call(self.x, self.state)
        output: Tensor = result if isinstance(result, Tensor) else result[0]
        return output

    def __call__(self) -> None:
        for _ in range(self.repeats):
            output = self.output()
            if self.gradient is not None:
                output.backward(self.gradient)


def cases(kind: str, hidden: int, batch: int, training: bool, seed: int = 0) -> Iterator[tuple[str, Step, Any]]:
    """(name, step, the module whose weights it runs on) of torch.nn's layer and cell, ours, and Recurrent.step."""
    torch.manual_seed(seed)
    theirs = KINDS[kind](hidden, hidden)
    ours, cells = getattr(unroll, kind)(hidden, hidden), [made(hidden, hidden) for made in _cells(kind)]
    network = from_torch(theirs)
    ours.load_state_dict(theirs.state_dict())
    for cell in cells:
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in theirs.state_dict().items()})
    x, first = torch.randn(batch, hidden), torch.randn(batch, hidden)
    states = (first, first.cos()) if kind == "LSTM" else (first,)
    gradient = torch.randn(batch, hidden) if training else None
    repeats = max(1, int(WORK / work(theirs, batch, training)))
    row, sequence = (given.requires_grad_(training) for given in (x.clone(), x.unsqueeze(0).clone()))
    stacked = tuple(state.unsqueeze(0) for state in states)
    whole = None if gradient is None else gradient.unsqueeze(0)
    for name, module in (("nn", theirs), ("core", ours)):
        yield name, Step(module, sequence, stacked if kind == "LSTM" else stacked[0], whole, repeats), module
    for name, cell in zip(("nn cell", "core cell"), cells, strict=True):
        yield name, Step(cell, row, states if kind == "LSTM" else first, gradient, repeats), cell
    yield "Recurrent.step", Step(network.step, row, stacked, gradient, repeats), network


def _cells(kind: str) -> tuple[Any, Any]:
    return CELLS[kind], getattr(unroll, f"{kind}Cell")


def step(hidden: tuple[int, ...] = HIDDEN, batch: tuple[int, ...] = BATCH) -> Iterator[Case]:
    """One time step per call, without and with gradients, compared with torch.nn's layers and cells."""
    for kind, training, size, rows in product(KINDS, (False, True), hidden, batch):
        made = list(cases(kind, size, rows, training))
        right = made[0][1].output().detach().flatten()
        runs = {}
        for name, one, module in made:
            torch.testing.assert_close(one.output().detach().flatten(), right, rtol=1e-3, atol=1e-4)
            runs[name] = Run(partial(one), work(module, rows, training) * one.repeats)
        pairs = (
            Pair("core", "nn", each=LEAST),
            Pair("core cell", "nn cell", each=LEAST),
            Pair("Recurrent.step", "nn", each=LEAST),
            Pair("Recurrent.step", "nn cell"),
        )
        mode = "training" if training else "inference"
        yield Case(f"{kind}, {mode}", f"{kind} {mode} H={size} B={rows}", runs, pairs, rows * made[0][1].repeats)
