"""A batch through a kernel: rows sorted by length and packed, so that no padding is ever computed.

output, state = run(kernel, cell, x, state, lengths=lengths, reset=reset, fresh=fresh)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell, State, loop, masked
from unroll.recurrence.kernels.call import Kernel, Run, parameter
from unroll.recurrence.kernels.cpu.linear import FastLinear
from unroll.recurrence.kernels.layout import Layout
from unroll.recurrence.kernels.trace import shadow


def run(
    kernel: Kernel,
    cell: Cell,
    x: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
    mask: Tensor | None = None,
    writable: bool = False,
) -> tuple[Tensor, State]:
    """The result of `loop(cell.step, cell.project(x), ...)`: x [T, B, D] -> output [T, B, O] and the state.

    Rows are sorted by length and steps past their ends are left out, so that no padding is ever computed.
    """
    steps, batch = x.shape[:2]
    if batch == 0 or (lengths is not None and not bool(lengths.any())):
        return loop(
            masked(cell, mask), cell.project(x), state, lengths=lengths, reset=reset, fresh=fresh
        )  # still differentiable
    if lengths is None:
        layout = Layout.full(steps, batch, None if reset is None else reset.flatten())
        output, after = advance(cell, kernel, x, state, layout, fresh=fresh, mask=mask, writable=writable)
        return output.view(steps, batch, -1), after
    order = lengths.argsort(descending=True, stable=True)
    time, row = (torch.arange(steps, device="cpu").unsqueeze(1) < lengths[order]).nonzero(as_tuple=True)
    tokens, order = (time * batch + order[row]).to(x.device), order.to(x.device)
    counts = torch.bincount(time, minlength=1)
    state = tuple(tensor.index_select(0, order) for tensor in state)
    fresh = None if fresh is None else tuple(tensor.index_select(0, order) for tensor in fresh)
    layout = Layout.packed(counts, batch, None if reset is None else reset.flatten()[tokens])
    packed = x.flatten(0, 1).index_select(0, tokens).unsqueeze(1)
    mask = None if mask is None else mask.index_select(0, order)
    output, after = advance(cell, kernel, packed, state, layout, fresh=fresh, mask=mask)
    full = output.new_zeros(steps * batch, output.shape[1]).index_copy(0, tokens, output)
    return full.view(steps, batch, -1), tuple(tensor.index_select(0, order.argsort()) for tensor in after)


def advance(
    cell: Cell,
    kernel: Kernel,
    x: Tensor,
    state: State,
    layout: Layout,
    *,
    fresh: State | None = None,
    mask: Tensor | None = None,
    writable: bool = False,
) -> tuple[Tensor, State]:
    """All steps of a packed batch.

    Args:
        cell: whose weights are used.
        kernel: its kernel.
        x: [T, B, D] or [N, 1, D], float32: N rows in the order of the layout.
        state: [B, n] each, before the first step.
        layout: where rows are stored.
        fresh: the state that rows are reset to; given whenever the layout has resets.
        mask: [B, H], multiplied onto the hidden state on its way into the products.
        writable: whether the caller may write into the output.

    Returns:
        output [N, O] and the state of each row after its own last step.
    """
    inputs = kernel.inputs(cell, x) if kernel.direct else (_projected(kernel, cell, x), None, None)
    states = list(state) + (list(fresh) if fresh and layout.reset is not None else [])
    tensors = [*inputs, *states, *(parameter(cell, name) for name in kernel.names)]
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    # A second backward pass must recompute with the cell as it is now, even if it changes later.
    then = shadow(cell, lambda _, weight: weight, also=_buffers_apart) if keep else cell
    run = Run(then, kernel, layout, mask, keep, writable, partial(_projected, kernel, then, x))
    output, *after = kernel.apply(run, *tensors)
    return output, tuple(after)


def _projected(kernel: Kernel, cell: Cell, x: Tensor) -> Tensor:
    """u [N, P], differentiably."""
    with FastLinear(kernel.narrow):
        u = cell.project(x).flatten(0, 1)
    return u.bfloat16() if kernel.narrow else u


def _buffers_apart(twin: Any, _: str) -> None:
    """Gives the copy its own dictionary of buffers, so that replacing one later does not affect it."""
    twin.__dict__["_buffers"] = dict(twin._buffers)
