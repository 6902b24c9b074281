"""Measures how far back a cell can learn to carry information, within a fixed training budget.

Four tasks in which the answer depends on an input exactly `lag` steps before it, and on nothing more recent:

    copy        three symbols, `lag` blank steps, then the three in order (Hochreiter and Schmidhuber 1997)
    adding      the sum of two marked numbers, one at either end (the same paper)
    parity      whether an odd number of three marked bits is set; the first, the middle and the last step
    flip-flop   a bit is written, others follow that must be ignored, then it is read (Liu et al. 2023)

Every cell is trained from scratch at each lag, for the same number of steps on the same data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.registry import CELLS
from unroll.recurrence.rnn import Recurrent

SOLVED = 0.9
"""score, from 0 for chance to 1 for perfect, from which a task counts as solved"""
SYMBOLS = 8
LAGS = (2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Batch:
    """x [T, B, D], and the answers at the last N steps: classes [N, B], or numbers [N, B]."""

    x: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Task:
    """One of the tasks.

    Attributes:
        draw: (lag, rows, generator) -> a batch.
        width: D.
        classes: how many an answer has; 0 if it is a number.
    """

    draw: Callable[[int, int, torch.Generator], Batch]
    width: int
    classes: int

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy or squared error of outputs [N, B, K]."""
        if self.classes:
            return F.cross_entropy(output.flatten(0, 1), batch.answer.flatten())
        return F.mse_loss(output[..., 0], batch.answer)

    def solved(self, output: Tensor, batch: Batch) -> float:
        """0 for the best result without memory, 1 for a perfect one."""
        if self.classes:
            right = float((output.argmax(-1) == batch.answer).float().mean())
            return max(0.0, (right - 1 / self.classes) / (1 - 1 / self.classes))
        # Knowing only the last number leaves the variance of the first, which is uniform in [0, 1].
        return max(0.0, 1 - 12 * float(F.mse_loss(output[..., 0], batch.answer)))


def copy(lag: int, rows: int, generator: torch.Generator) -> Batch:
    """Three of eight symbols, blanks, a cue with each answer; the i-th answer comes `lag` steps after its symbol."""
    length = min(3, lag)
    symbols = torch.randint(SYMBOLS, (length, rows), generator=generator)
    x = torch.zeros(lag + length, rows, SYMBOLS + 1)
    x[:length, :, :SYMBOLS] = F.one_hot(symbols, SYMBOLS).float()
    x[lag:, :, SYMBOLS] = 1
    return Batch(x, symbols)


def adding(lag: int, rows: int, generator: torch.Generator) -> Batch:
    """Random numbers, the first and the last of them marked."""
    x = torch.stack([torch.rand(lag + 1, rows, generator=generator), torch.zeros(lag + 1, rows)], 2)
    x[[0, -1], :, 1] = 1
    return Batch(x, x[[0, -1], :, 0].sum(0, keepdim=True))


def parity(lag: int, rows: int, generator: torch.Generator) -> Batch:
    """Random signs, three of them marked."""
    bits = torch.randint(2, (lag + 1, rows), generator=generator)
    x = torch.stack([2.0 * bits - 1, torch.zeros(lag + 1, rows)], 2)
    places = [0, lag // 2, lag]
    x[places, :, 1] = 1
    return Batch(x, bits[places].sum(0, keepdim=True) % 2)


def flip_flop(lag: int, rows: int, generator: torch.Generator) -> Batch:
    """Write, ignore, ..., read: each step has a sign and an instruction."""
    bits = torch.randint(2, (lag + 1, rows), generator=generator)
    x = torch.zeros(lag + 1, rows, 3)
    x[:-1, :, 0] = 2.0 * bits[:-1] - 1
    x[0, :, 1] = 1
    x[-1, :, 2] = 1
    return Batch(x, bits[:1])


TASKS: Mapping[str, Task] = {
    "copy": Task(copy, SYMBOLS + 1, SYMBOLS),
    "adding": Task(adding, 2, 0),
    "parity": Task(parity, 2, 2),
    "flip-flop": Task(flip_flop, 3, 2),
}


@dataclass(frozen=True)
class Measured:
    """One cell on one task.

    Attributes:
        cell, task: their names.
        lags, solved: the lags tried, and the score at each.
        seconds: processor time for all lags.
    """

    cell: str
    task: str
    lags: tuple[int, ...]
    solved: tuple[float, ...]
    seconds: float

    @property
    def reach(self) -> int:
        """The longest lag up to which the task is solved without a gap; 0 if there is none."""
        reach = 0
        for lag, solved in zip(self.lags, self.solved, strict=True):
            if solved < SOLVED:
                break
            reach = lag
        return reach


def vector_cells() -> list[str]:
    """Names of all cells that read vectors."""
    return [name for name, cell in CELLS.items() if not getattr(cell, "extent_dims", 0)]


def measure(
    cell: str,
    task: str,
    *,
    lags: Sequence[int] = LAGS,
    steps: int = 300,
    hidden: int = 32,
    rows: int = 32,
    seed: int = 0,
) -> Measured:
    """Trains a one-layer network of the cell at growing lags, until a lag is not solved.

    Args:
        cell, task: names, see CELLS and TASKS.
        lags: to try, ascending.
        steps: the budget: optimiser steps (Adam, learning rate 0.01, clipped at 1) at each lag.
        hidden: units.
        rows: batch size.
        seed: for the weights and the data; all cells see the same batches.
    """
    began, done, solved = time.process_time(), [], []
    for lag in lags:
        done.append(lag)
        solved.append(_train(cell, TASKS[task], lag, steps, hidden=hidden, rows=rows, seed=seed))
        if solved[-1] < SOLVED:
            break
    return Measured(cell, task, tuple(done), tuple(solved), time.process_time() - began)


def _train(cell: str, task: Task, lag: int, steps: int, *, hidden: int, rows: int, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Recurrent(cell, task.width, hidden)
        head = nn.Linear(network.output_size, task.classes or 1)
    weights = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    test = task.draw(lag, 512, torch.Generator().manual_seed(seed + 1))
    for step in range(1, steps + 1):
        batch = task.draw(lag, rows, generator)
        optimizer.zero_grad()
        task.loss(_answers(network, head, batch), batch).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % 50 == 0 and step < steps and _test(task, network, head, test) > 0.99:
            break
    return _test(task, network, head, test)


@torch.no_grad()
def _test(task: Task, network: Recurrent, head: nn.Module, test: Batch) -> float:
    return task.solved(_answers(network, head, test), test)


def _answers(network: Recurrent, head: nn.Module, batch: Batch) -> Tensor:
    output, _ = network(batch.x)
    answers: Tensor = head(output[-len(batch.answer) :])
    return answers
