"""Checks this machine's arithmetic: each cell's gradient against finite differences, its fast path against the loop."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.recurrence import Recurrent
from unroll.recurrence.registry import CELLS

STEPS, BATCH, INPUT, HIDDEN, EXTENT = 5, 3, 3, 4, (4, 5)
NUDGE = 1e-6
"""by how much finite differences move the parameters, in float64"""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-3}
"""largest relative error of a gradient; layer norm over four units magnifies rounding a hundredfold"""


@dataclass(frozen=True)
class Checked:
    """One cell in one dtype.

    Attributes:
        cell: its name.
        dtype: of its parameters.
        gradient: relative error of a derivative against finite differences.
        fast: largest relative difference between the fast path and the loop over `step`, in output and gradient.
    """

    cell: str
    dtype: torch.dtype
    gradient: float
    fast: float


def cells(device: torch.device) -> Iterator[Checked]:
    """Checks every cell, in float64 if the device has it and in float32."""
    dtypes = (torch.float32,) if device.type == "mps" else (torch.float64, torch.float32)
    with torch.random.fork_rng():
        for name, cell in CELLS.items():
            torch.manual_seed(0)
            network = Recurrent(cell, INPUT, HIDDEN).double().eval()
            extent = EXTENT[: int(getattr(network.cells[0], "extent_dims", 0))]
            x = torch.randn(STEPS, BATCH, INPUT, *extent, dtype=torch.float64)
            weights = torch.randn_like(network(x)[0])
            direction = [torch.randn_like(parameter) for parameter in network.parameters()]
            wanted = _finite_difference(network, x, weights, direction)
            for dtype in dtypes:
                yield Checked(name, dtype, *_errors(network, x, weights, direction, wanted, dtype, device))


def _finite_difference(network: Recurrent, x: Tensor, weights: Tensor, direction: list[Tensor]) -> float:
    """Derivative of the weighted output along a direction of the parameters."""

    def nudged(by: float) -> float:
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for parameter, way in zip(moved.parameters(), direction, strict=True):
                parameter.add_(way, alpha=by)
            return float((moved(x)[0] * weights).sum())

    return (nudged(NUDGE) - nudged(-NUDGE)) / (2 * NUDGE)


def _errors(
    network: Recurrent,
    x: Tensor,
    weights: Tensor,
    direction: list[Tensor],
    wanted: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[float, float]:
    here = copy.deepcopy(network).to(device, dtype)
    here.backend = "eager"
    output, gradients = _gradients(here, x.to(device, dtype), weights.to(device, dtype))
    slope = sum(float((g.cpu().double() * way).sum()) for g, way in zip(gradients, direction, strict=True))
    here.backend = "auto"
    fast_output, fast = _gradients(here, x.to(device, dtype), weights.to(device, dtype))
    differences = [_relative(a, b) for a, b in zip([fast_output, *fast], [output, *gradients], strict=True)]
    return abs(slope - wanted) / max(1.0, abs(wanted)), max(differences)


def _gradients(network: Recurrent, x: Tensor, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
    output, _ = network(x)
    found = torch.autograd.grad((output * weights).sum(), list(network.parameters()), materialize_grads=True)
    return output.detach(), list(found)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1.0))
