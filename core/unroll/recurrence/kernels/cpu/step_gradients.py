"""One time step of torch.nn's cells as one autograd function, with one C call each for forward and backward.

torch's own cell function is a dozen small operations, each with its own node in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.context import intercepted
from unroll.recurrence.kernels.cpu.step import Single
from unroll.recurrence.kernels.workspace import LEAST, WORKSPACE

Outputs = tuple[Tensor, ...]
Again = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], Outputs]


def run(
    single: Single,
    again: Again,
    x: Tensor,
    given: Sequence[Any],
    weights: Sequence[Any],
    *layers: int,
    output: bool = True,
    checked: bool = False,
) -> Sequence[Tensor] | None:
    """The output and the states of `Single.run`, differentiable if autograd records the call.

    Args:
        single: of cells that torch has, so that it has a `mode`.
        again: the same in torch's operations, which can be differentiated more than once.
        x, given, weights, layers, output, checked: as in `Single.run`.
    """
    found = single.run(x, given, weights, *layers, output=output, checked=checked)
    if found is None or found[1] is None:
        return None if found is None else found[0]
    result: Outputs = _apply((single, again, output), found, x, *given, *weights)
    return result


class _Step(torch.autograd.Function):
    """apply((single, again, whether there is an output), result of `Single.run`, x, *states, *weights) -> outputs."""

    @staticmethod
    def forward(
        ctx: Any, call: tuple[Single, Again, bool], made: tuple[Sequence[Tensor], Tensor], *tensors: Tensor
    ) -> Outputs:
        outputs, kept = made
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(kept, *tensors)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, x, *tensors = ctx.saved_tensors
        single, again, output = ctx.call
        count = len(single.states)
        given, weights = tensors[:count], tensors[count:]
        if torch.is_grad_enabled() or intercepted(gradients):
            return (None, None, *_by_torch(again, x, given, weights, gradients))
        by_x, wanted = ctx.needs_input_grad[2], ctx.needs_input_grad[3:]
        by_states = any(wanted[:count])
        d_output = gradients[0] if output else None
        d_output = None if d_output is None else d_output.contiguous()
        d_states = [
            (torch.zeros_like(state) if by_states else None)
            if gradient is None
            else gradient.clone(memory_format=torch.contiguous_format)  # it is overwritten
            for state, gradient in zip(given, gradients[-count:], strict=True)
        ]
        into = [torch.empty_like(x) if by_x else None]
        into += [_room_for(weight) if one else None for weight, one in zip(weights, wanted[count:], strict=True)]
        single.back(x, d_output, given, d_states, weights, kept, into, by_states)
        return (None, None, into[0], *(d_states if by_states else [None] * count), *into[1:])


_apply: Any = super(torch.autograd.Function, _Step).apply
"""`_Step.apply` without the support for torch.func transforms, which a plain call does not need"""


def _room_for(weight: Tensor) -> Tensor:
    """For a gradient: of a large weight a buffer that is used again, as the system hands out memory more slowly."""
    return WORKSPACE.empty(*weight.shape) if weight.numel() >= LEAST else torch.empty_like(weight)


def _by_torch(
    again: Again,
    x: Tensor,
    given: Sequence[Tensor],
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients in torch's operations: to differentiate again, and for interceptors."""
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        # A tensor that is given twice must be told apart.
        inputs = [tensor.view_as(tensor) for tensor in (x, *given, *weights)]
        outputs = again(inputs[0], inputs[1 : 1 + len(given)], inputs[1 + len(given) :])
        there = [gradient is not None for gradient in gradients]
        wanted = [tensor.requires_grad for tensor in inputs]
        found = iter(
            torch.autograd.grad(
                list(compress(outputs, there)), list(compress(inputs, wanted)), list(compress(gradients, there)),
                create_graph=differentiable, allow_unused=True,
            )
        )  # fmt: skip
    return [next(found) if one else None for one in wanted]
