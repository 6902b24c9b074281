"""One call of a kernel: its arguments besides tensors, and its gradients by the loop over `step`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, where
from unroll.recurrence.kernels.cpu.linear import projected
from unroll.recurrence.kernels.layout import Layout
from unroll.recurrence.kernels.plan import Program
from unroll.recurrence.kernels.reads import Guard
from unroll.recurrence.kernels.trace import shadow

INPUTS = 3
"""tensors at the input side: x, matrix and bias (or None) of u = x matrix' + bias; or u itself and two Nones"""
Inputs = Sequence[Tensor | None]


class Kernel(Protocol):
    """The steps of one kind of cell, in any language.

    Attributes:
        program: the plan that they follow.
        names: of the weights, in the order in which `apply` takes them.
        narrow: whether products have bfloat16 operands, and the input side of a step is bfloat16.
        direct: whether the product of x in `project` is part of the kernel; the steps then include what follows it.
        guard: everything that was read while tracing the cell.
    """

    program: Program
    names: list[str]
    narrow: bool
    direct: bool
    guard: Guard

    def inputs(self, cell: Cell, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """x, matrix and bias of the product in `project`, if `direct`."""

    def apply(self, run: Any, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Output and states, differentiably."""


K = TypeVar("K", bound=Kernel)


@dataclass(frozen=True)
class Run(Generic[K]):
    """One call: everything except tensors of the graph.

    Attributes:
        cell: as it was at the time of the call.
        keep: whether a backward pass may follow.
        writable: whether the caller may write into the output, which the backward pass reads.
        project: recomputes u, differentiably, for a kernel that does not save it.
    """

    cell: Cell
    kernel: K
    layout: Layout
    mask: Tensor | None
    keep: bool
    writable: bool
    project: Callable[[], Tensor]

    def parted(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """The tensors after the input side: states, fresh states (none without resets), weights by name."""
        count = len(self.kernel.program.states)
        given = 2 * count if self.layout.reset is not None else count
        weights = dict(zip(self.kernel.names, tensors[given:], strict=True))
        return list(tensors[:count]), list(tensors[count:given]), weights


def parameter(cell: Any, name: str) -> Tensor:
    """The current tensor of a dotted name: weight drop replaces parameters by other tensors."""
    *path, last = name.split(".")
    for child in path:
        cell = cell._modules[child]
    weight: Tensor = cell._parameters[last]
    return weight


def add_vectors(program: Program, d_weights: dict[str, Tensor], d_param: Tensor) -> None:
    """Adds the sums of each thread (or block) to the gradients of the vectors."""
    at = 0
    for name, offset, width in program.d_params:
        d_weights[name].view(-1)[offset : offset + width].add_(d_param[:, at : at + width].sum(0))
        at += width


def twice(run: Run[Any], tensors: Inputs, gradients: list[Tensor]) -> list[Tensor | None]:
    """The gradients in torch's operations, by the loop over `step`: to differentiate again, and for interceptors.

    Raises:
        RuntimeError: what the step reads besides its inputs has changed since the call.
    """
    differentiable = torch.is_grad_enabled()
    if not run.kernel.guard.holds(run.cell):
        changed = ", ".join(run.kernel.guard.changed(run.cell))
        raise RuntimeError(f"{type(run.cell).__name__} was changed between forward and backward: {changed}")
    with torch.enable_grad():
        return by(_loop(run, *tensors), tensors, gradients, create_graph=differentiable)


def by(
    outputs: Sequence[Tensor], inputs: Inputs, gradients: list[Tensor], create_graph: bool = False
) -> list[Tensor | None]:
    """The gradient by each input, or None if it is not needed or there is none, from those by the outputs."""
    reached = [output.requires_grad for output in outputs]
    wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]
    there: list[Any] = list(compress(inputs, wanted))
    found = torch.autograd.grad(
        list(compress(outputs, reached)), there, list(compress(gradients, reached)),
        create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    given = iter(found)
    return [next(given) if one else None for one in wanted]


def _loop(
    run: Run[Any], x: Tensor | None, matrix: Tensor | None, bias: Tensor | None, *tensors: Any
) -> tuple[Tensor, ...]:
    assert x is not None
    given, anew, weights = run.parted(tensors)
    cell = shadow(run.cell, weights.get)
    u = x if matrix is None else projected(cell, x, F.linear(x, matrix, bias)).flatten(0, -2)
    state, outputs, layout = tuple(given), [], run.layout
    masks = () if run.mask is None else (run.mask,)
    for begin, count in zip(layout.offsets.tolist(), layout.counts.tolist(), strict=True):
        now = tuple(tensor[:count] for tensor in state)
        if layout.reset is not None:
            now = where(layout.reset[begin : begin + count].bool(), tuple(t[:count] for t in anew), now)
        output, new = cell.step(u[begin : begin + count], now, *(mask[:count] for mask in masks))
        outputs.append(output)
        state = tuple(torch.cat([a, b[count:]]) for a, b in zip(new, state, strict=True))
    return torch.cat(outputs), *state
