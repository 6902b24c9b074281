"""How fast a small perturbation grows or decays along the states that a network actually went through.

The factor per step is exp of the largest Lyapunov exponent: gradients are sent back through the Jacobians dS_j/dS_{j-1}
one by one and normalised after each, so that nothing under- or overflows however long the sequence is (Benettin et al.
1980; Engelken, Wolf and Abbott 2023, "Lyapunov spectra of chaotic recurrent neural networks"). They start as random
gradients of the hidden state: a direction of the state that no output depends on does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import grad

from unroll.recurrence.cell import State, where
from unroll.recurrence.gradients import CellGradients

SKIPPED = 1 / 3
"""fraction of a row's steps that is left out, in which the random start is forgotten"""


@dataclass(frozen=True)
class Growth:
    """The factor by which a gradient grows in one step back in time: below 1 it vanishes, above 1 it explodes.

    A step at which it becomes zero (all relu units dead, say) does not count; it is restarted there. If it becomes
    zero at every step, all three are 0.

    Attributes:
        factor: exp of the mean logarithm.
        low, high: a 95 % interval, from rows as independent samples (jackknife); with fewer than four rows, from
            segments of time. It is widened by half the difference between the earlier and the later steps, because a
            factor that still drifts is not known better than that.
    """

    factor: float
    low: float
    high: float


def growth(cell: CellGradients) -> Growth:
    """The growth factor of a cell along the recorded rows, for its recurrence alone, without the layers around it.

    Raises:
        ModuleNotFoundError: scipy is not installed; `pip install 'unroll[apps]'` installs it.
    """
    logs = _log_growth(cell)
    steps = torch.arange(1, len(logs) + 1)[:, None]
    begin = (cell.lengths * (1 - SKIPPED)).ceil()
    counted = (steps <= begin) & logs.isfinite()
    if not bool(counted.any()):
        return Growth(0.0, 0.0, 0.0)
    if len(torch.unique(cell.rows)) >= 4:
        groups = cell.rows.expand_as(logs)
    else:
        groups = (steps * 8 // (len(logs) + 1)).expand_as(logs)
    mean, error, freedom = _jackknife(logs[counted], groups[counted])
    halves = [logs[counted & half] for half in (steps <= begin / 2, steps > begin / 2)]
    drift = abs(float(halves[0].mean() - halves[1].mean())) / 2 if all(len(half) for half in halves) else math.inf
    wide = math.hypot(_t975(freedom) * error, drift) if freedom else math.inf
    return Growth(math.exp(mean), math.exp(mean - wide), _exp(mean + wide))


def _log_growth(cell: CellGradients) -> Tensor:
    """[T, R]: the log of the factor by which step j scales a gradient's norm; not finite where that becomes zero."""
    trace, generator = cell.trace, torch.Generator().manual_seed(0)
    vector = _start(trace.made[-1], generator)
    logs = []
    for j in range(len(trace.made), 0, -1):
        made, before = trace.made[j - 1], trace.before[j - 1]
        chosen = [i for i, tensor in enumerate(made) if tensor.requires_grad]
        back = grad(
            [made[i] for i in chosen], before, [vector[i] for i in chosen], retain_graph=True, materialize_grads=True
        )
        length = _length(back)
        logs.append(length.log().cpu())
        lost = ~(length > 0) | ~length.isfinite()
        back = where(lost, _start(back, generator), tuple(_scaled(tensor, 1 / length) for tensor in back))
        vector = where((j <= cell.lengths).to(length.device), back, vector)
    return torch.stack(logs[::-1])


def spectral_norms(cell: CellGradients, lags: Sequence[int], rows: int = 4, iterations: int = 10) -> Tensor:
    """[N, R]: the spectral norm of dS_t/dS_k for t each row's end and k = t - lag; NaN where a row is shorter.

    Power iteration with products of the Jacobian and of its transpose; no Jacobian is built. It converges from below:
    a few iterations are enough for long lags, whose second singular value is far smaller.

    Args:
        cell: from `gradients`.
        lags: n, at least 1.
        rows: R, how many rows are examined.
        iterations: of the power iteration.
    """
    chosen = _distinct(cell.rows)[:rows]
    rows = len(chosen)
    lag = torch.tensor(lags).repeat_interleave(rows)
    ends = cell.lengths[chosen].repeat(len(lags))
    maps = _Jacobians(cell, chosen.repeat(len(lags)))
    first, last = int((ends - lag).min().clamp(min=0)), int(ends.max())
    vector = _start(cell.trace.made[-1], torch.Generator().manual_seed(1), rows=len(ends), everywhere=True)
    log = torch.zeros(len(ends), dtype=torch.float64)
    for _ in range(iterations):
        for product, order in ((maps.forth, range(first + 1, last + 1)), (maps.back, range(last, first, -1))):
            log = torch.zeros_like(log)
            for j in order:
                active = (j > ends - lag) & (j <= ends)
                vector, change = _advance(product, j, vector, active)
                log += change
    return torch.where(lag <= ends, log, math.nan).exp().reshape(len(lags), rows)


def _advance(product: Callable[[int, State], State], j: int, vector: State, active: Tensor) -> tuple[State, Tensor]:
    after = product(j, vector)
    length = _length(after)
    moved = tuple(_scaled(tensor, 1 / length.clamp(min=torch.finfo(torch.float32).tiny)) for tensor in after)
    on = active.to(length.device)
    return where(on, moved, vector), torch.where(on, length.log(), 0.0).cpu()


class _Jacobians:
    """Products of dS_j/dS_{j-1} with vectors, for the given recorded rows, repetitions allowed."""

    def __init__(self, cell: CellGradients, rows: Tensor) -> None:
        self.trace, self.rows = cell.trace, rows.to(cell.trace.x.device)
        self._maps: dict[int, tuple[State, State, State, State]] = {}

    def back(self, j: int, vector: State) -> State:
        """The transposed Jacobian times the vector."""
        before, made, _, _ = self._map(j)
        product: State = grad(made, before, vector, retain_graph=True, materialize_grads=True)
        return product

    def forth(self, j: int, vector: State) -> State:
        """The Jacobian times the vector: the gradient of `back`, which is linear, with respect to its vector."""
        _, _, dummy, transposed = self._map(j)
        product: State = grad(transposed, dummy, vector, retain_graph=True, materialize_grads=True)
        return product

    def _map(self, j: int) -> tuple[State, State, State, State]:
        if j not in self._maps:
            u = self.trace.inputs[j - 1].detach()[self.rows]
            before = tuple(t.detach()[self.rows].requires_grad_() for t in self.trace.before[j - 1])
            with torch.enable_grad():
                made = self.trace.step(u, before)[1]
                dummy = tuple(torch.zeros_like(tensor, requires_grad=True) for tensor in made)
                transposed = grad(made, before, dummy, create_graph=True, materialize_grads=True)
            self._maps[j] = before, made, dummy, transposed
        return self._maps[j]


def _start(like: State, generator: torch.Generator, rows: int | None = None, everywhere: bool = False) -> State:
    """Random unit vectors: over the hidden state alone, or over all state tensors."""
    many = [torch.Size((rows or len(tensor), *tensor.shape[1:])) for tensor in like]
    parts = [
        torch.randn(shape, generator=generator).to(tensor) if everywhere or not index else tensor.new_zeros(shape)
        for index, (shape, tensor) in enumerate(zip(many, like, strict=True))
    ]
    length = _length(parts)
    return tuple(_scaled(part, 1 / length) for part in parts)


def _length(parts: Sequence[Tensor]) -> Tensor:
    """[R] in float64."""
    return torch.stack([part.double().flatten(1).square().sum(1) for part in parts]).sum(0).sqrt()


def _scaled(tensor: Tensor, factor: Tensor) -> Tensor:
    return tensor * factor.to(tensor).reshape(-1, *(1,) * (tensor.dim() - 1))


def _distinct(rows: Tensor) -> Tensor:
    """The index at which each row of the batch occurs first."""
    return torch.stack([(rows == row).nonzero()[0, 0] for row in torch.unique(rows)])


def _jackknife(values: Tensor, groups: Tensor) -> tuple[float, float, int]:
    """The mean, its standard error by leaving out whole groups in turn, and its degrees of freedom."""
    numbers = torch.unique(groups)
    sums = torch.stack([values[groups == number].sum() for number in numbers])
    counts = torch.stack([(groups == number).sum() for number in numbers])
    mean, many = float(values.mean()), len(numbers)
    if many < 2:
        return mean, math.inf, 0
    without = (sums.sum() - sums) / (counts.sum() - counts)
    return mean, math.sqrt((many - 1) / many * float((without - without.mean()).square().sum())), many - 1


def _t975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit  # only here: the layers do not need it

    return float(stdtrit(freedom, 0.975))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
