"""The kinds of dropout for recurrent networks.

- between layers (Zaremba et al. 2014): each element drawn independently, never on the recurrent path.
- variational (Gal and Ghahramani 2016; "locked" in AWD-LSTM): one mask per sequence, the same for all its steps.
- zoneout (Krueger et al. 2017): a unit keeps its old value instead of being set to zero.
- weight drop (Merity et al. 2018; DropConnect): entries of the recurrent weights, one mask per call.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, Step
from unroll.recurrence.kernels.kernel_cache import kernels
from unroll.recurrence.kernels.trace import shadow


class VariationalDropout(nn.Module):
    """x [T, B, ...] with one mask [B, ...] for all steps; the identity in evaluation mode."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = rate("p", p)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, ...] -> the same shape."""
        return x * mask_like(x[0], self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        """The rate."""
        return f"p={self.p}"


def mask_like(x: Tensor, p: float) -> Tensor:
    """Zeros with probability p, else 1 / (1 - p), in x's shape, dtype and device."""
    return F.dropout(torch.ones_like(x), p)


def zoned(step: Step, names: Mapping[str, object], rates: tuple[float, float], training: bool) -> Step:
    """The step with zoneout: each unit of the hidden and cell state keeps its old value with its rate's probability.

    In evaluation mode the old and the new value are averaged with that weight. If the output is the hidden state, it is
    the zoned-out one. States with names other than "hidden" and "cell" are left alone.
    """
    by_name = {"hidden": rates[0], "cell": rates[1]}
    kept = [by_name.get(name, 0.0) for name in names]

    def zoned_step(u: Tensor, state: State) -> tuple[Tensor, State]:
        output, new = step(u, state)
        mixed = tuple(_mix(a, b, p, training) for a, b, p in zip(state, new, kept, strict=True))
        return (mixed[0] if output is new[0] else output), mixed

    return zoned_step


def _mix(old: Tensor, new: Tensor, p: float, training: bool) -> Tensor:
    if p == 0:
        return new
    if training:
        return torch.where(torch.rand_like(new) < p, old, new)
    return new + p * (old - new)


def weights_dropped(cell: Cell, p: float) -> Cell:
    """A shallow copy of the cell with dropout applied to its recurrent weights.

    The cell itself is not touched: the raw weights are trained, saved and copied, so evaluation, state_dict, deepcopy
    and other threads never see a dropped weight.
    """
    kernels(cell)  # so that kernels compiled for the copy are kept for the next one

    def dropped(name: str, weight: Tensor) -> Tensor:
        return F.dropout(weight, p) if name in cell.recurrent_weights else weight

    twin: Cell = shadow(cell, dropped)
    return twin


def rate(name: str, p: float) -> float:
    """Returns p; raises a ValueError that names it unless it is a probability."""
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, got {p!r}")
    return float(p)


def rates(name: str, p: float | tuple[float, ...], parts: tuple[str, ...]) -> tuple[float, ...]:
    """One rate per part: p for all of them, or one each."""
    if not isinstance(p, tuple | list):
        return (rate(name, p),) * len(parts)
    if len(p) != len(parts):
        raise ValueError(f"{name} must be one number or one each for {', '.join(parts)}, got {p!r}")
    return tuple(rate(f"{name} ({part})", value) for part, value in zip(parts, p, strict=True))
