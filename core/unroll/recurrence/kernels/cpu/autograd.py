"""The forward and the backward pass of a kernel as one autograd function."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from unroll.recurrence.context import intercepted
from unroll.recurrence.kernels.buffers import D_U, KEPT, OUT, SAVED, Buffer, Kind, Place
from unroll.recurrence.kernels.call import INPUTS, Inputs, Run, add_vectors, by, twice
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.cpu_kernel import Compiled
from unroll.recurrence.kernels.cpu.linear import Side, outer, product
from unroll.recurrence.kernels.cpu.native import address
from unroll.recurrence.kernels.layout import final_state
from unroll.recurrence.kernels.plan import WeightGradient
from unroll.recurrence.kernels.workspace import WORKSPACE


class Kernel(Compiled):
    """Compiled steps that autograd can differentiate."""

    def apply(self, run: Run[Kernel], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Output and states, differentiably."""
        return Fused.apply(run, *tensors)  # type: ignore[no-untyped-call,no-any-return]  # torch: no types


class Narrow(Kernel):
    """The same under bfloat16: sums and states stay float32; the input side is bfloat16 in memory."""

    narrow = True


class Fused(torch.autograd.Function):
    """forward(run, x, matrix, bias, *states, *fresh states, *weights) -> output [N, O] and the states."""

    @staticmethod
    def forward(ctx: Any, run: Run[Kernel], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        made, layout = run.kernel.program, run.layout
        contiguous = [None if tensor is None else native.rows(tensor.detach()) for tensor in tensors]
        (x, matrix, bias), rest = contiguous[:INPUTS], contiguous[INPUTS:]
        state, fresh, weights = run.parted(cast("list[Tensor]", rest))
        u = _projected(run, x, matrix, bias)
        batch, total = state[0].shape[0], u.shape[0]
        call, holds = run.kernel.call(run, batch, weights, made.forward)
        rings = [not run.keep and not (k == 0 and made.aliased) for k in range(len(state))]
        held = [_held(first, 2 * batch if ring else total) for first, ring in zip(state, rings, strict=True)]
        after = [tensor[batch:] for tensor in held]
        out = after[0] if made.aliased else WORKSPACE.empty(total, made.outputs)
        saved = WORKSPACE.empty(total if run.keep else 0, made.saved)
        # Values for the backward step may overwrite u if it is not shared.
        mine = matrix is not None and run.keep and made.over_u
        kept = u if mine else run.kernel.units(total if run.keep and made.over_u else 0, made.inputs)
        call.u, call.out, call.saved, call.kept = address(u), out.data_ptr(), saved.data_ptr(), kept.data_ptr()
        for k, tensor in enumerate(after):
            call.state[k], call.initial[k] = tensor.data_ptr(), address(state[k])
            call.fresh[k] = address(fresh[k]) if fresh else None
        (run.kernel.forward_keep if run.keep else run.kernel.forward_bare)(ctypes.byref(call))
        del holds
        if run.keep:
            ctx.given = _Given(tensors, _read_again(run, tensors))
            ctx.save_for_backward(*ctx.given.saved(tensors), u if made.needs_u else kept, kept, saved, *held, out)
            out = (
                out.data if run.writable else out
            )  # not a view, with a version counter separate from the saved tensor's
            ctx.run, ctx.spent, ctx.writes = run, False, _Writes(out) if run.writable else None
        final = (
            final_state(layout, tensor, first, ring) for tensor, first, ring in zip(after, state, rings, strict=True)
        )
        return (out, *final)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, *d_after: Tensor) -> tuple[Tensor | None, ...]:
        run: Run[Kernel] = ctx.run
        everything = ctx.saved_tensors
        count = len(run.kernel.program.states) + 4
        tensors, kept = ctx.given.all(everything[:-count]), everything[-count:]
        if torch.is_grad_enabled() or intercepted((d_out, *d_after)):
            ctx.given.check()
            return (None, *twice(run, tensors, [d_out, *d_after]))
        if ctx.spent or (ctx.writes is not None and ctx.writes.seen()):
            ctx.given.check()
            return (None, *_once_more(run, tensors, [d_out, *d_after]))
        ctx.spent = run.kernel.program.over_kept
        return (
            None,
            *_Backward(run, tensors, kept, ctx.needs_input_grad[1 : 1 + INPUTS]).gradients(native.rows(d_out), d_after),
        )


def _read_again(run: Run[Kernel], tensors: Inputs) -> list[bool]:
    """Which of the tensors the first backward pass reads; changes to the others do not affect it."""
    (x, matrix, bias), count = tensors[:INPUTS], len(tensors) - INPUTS - len(run.kernel.names)
    followed = [tensor is not None and tensor.requires_grad for tensor in (x, matrix, bias)]
    inputs = [matrix is None or any(followed[1:]), followed[0], False]
    return [*inputs, *[True] * count, *(name in run.kernel.program.read_again for name in run.kernel.names)]


class _Given:
    """Arguments that the first backward pass does not read: autograd need not guard them, but a second pass must.

    Args:
        tensors: all arguments of the call.
        read: which of them the first backward pass reads.
    """

    def __init__(self, tensors: Inputs, read: Sequence[bool]) -> None:
        self.read = read
        self.others = [None if one else tensor for tensor, one in zip(tensors, read, strict=True)]
        self.versions = [_version(tensor) for tensor in self.others]

    def saved(self, tensors: Inputs) -> list[Tensor | None]:
        """Those that autograd saves."""
        return [tensor if one else None for tensor, one in zip(tensors, self.read, strict=True)]

    def all(self, saved: Inputs) -> list[Tensor | None]:
        """Those and the others."""
        return [kept if one else other for kept, other, one in zip(saved, self.others, self.read, strict=True)]

    def check(self) -> None:
        """Call this before reading the others.

        Raises:
            RuntimeError: one of them was modified in place, with autograd's message.
        """
        for tensor, version in zip(self.others, self.versions, strict=True):
            if _version(tensor) != version:
                assert tensor is not None
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor {list(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
                )


def _version(tensor: Tensor | None) -> int:
    """Its version counter, which inference tensors do not have."""
    return 0 if tensor is None or tensor.is_inference() else tensor._version


_NOTHING = torch.empty(0, dtype=torch.float32, device="cpu")


class _Writes:
    """Detects later writes to a tensor or a view of it, without holding its memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.counter = tensor.detach()  # shares the version counter; the memory is released
        self.counter.data = _NOTHING
        self.before = self.counter._version

    def seen(self) -> bool:
        """Whether there were any, by the counter that torch checks for saved tensors."""
        return self.counter._version != self.before


def _held(first: Tensor, rows: int) -> Tensor:
    """Memory for all states of a kind, starting with the one before the first step."""
    batch, width = first.shape
    held = WORKSPACE.empty(batch + rows, width)
    held[:batch] = first
    return held


def _projected(run: Run[Kernel], x: Tensor | None, matrix: Tensor | None, bias: Tensor | None) -> Tensor:
    """u [N, P] of the input side."""
    assert x is not None
    if matrix is None:
        return x
    narrow = run.kernel.narrow
    return product(x.view(-1, x.shape[-1]), matrix, bias, bf16=narrow, narrow=narrow)


class _Backward:
    """One backward pass.

    Args:
        run: the call.
        tensors: the arguments of `Fused.forward`.
        kept: what it saved: u (if the backward step reads it), kept, saved, the states, the output.
        wanted: whether the gradients by x, by the matrix and by the bias are needed.
    """

    def __init__(self, run: Run[Kernel], tensors: Inputs, kept: Sequence[Tensor], wanted: Sequence[bool]) -> None:
        self.run, self.made, self.wanted = run, run.kernel.program, wanted
        contiguous = [None if tensor is None else native.rows(tensor) for tensor in tensors]
        self.x, self.matrix, self.bias = contiguous[:INPUTS]
        self.state, self.fresh, self.weights = run.parted(cast("list[Tensor]", contiguous[INPUTS:]))
        self.u, self.kept, self.saved, *self.held, self.out = kept
        self.after = [tensor[first.shape[0] :] for tensor, first in zip(self.held, self.state, strict=True)]

    def gradients(self, d_out: Tensor, d_after: Sequence[Tensor]) -> list[Tensor | None]:
        """By all arguments of `Fused.forward`."""
        run, made, batch, total = self.run, self.made, self.state[0].shape[0], d_out.shape[0]
        call, holds = run.kernel.call(run, batch, self.weights, made.backward)
        d_u = self.kept if made.over_kept else run.kernel.units(total, made.inputs)
        d_state = [native.rows(gradient).clone() for gradient in d_after]
        d_fresh = [torch.zeros_like(tensor) for tensor in self.fresh]
        d_product = [run.kernel.units(total, rows) for rows in made.products]
        d_param = d_out.new_zeros(call.threads, sum(width for _, _, width in made.d_params))
        call.u, call.out, call.saved = address(self.u), self.out.data_ptr(), self.saved.data_ptr()
        call.kept, call.d_out, call.d_u, call.d_param = (
            self.kept.data_ptr(), address(d_out), d_u.data_ptr(), d_param.data_ptr(),
        )  # fmt: skip
        for k, tensor in enumerate(self.after):
            call.state[k], call.initial[k] = tensor.data_ptr(), address(self.state[k])
            call.d_state[k] = address(d_state[k])
        for k, tensor in enumerate(self.fresh):
            call.fresh[k], call.d_fresh[k] = address(tensor), address(d_fresh[k])
        for k, tensor in enumerate(d_product):
            call.d_product[k] = tensor.data_ptr()
        run.kernel.backward(ctypes.byref(call))
        del holds
        buffers = {D_U: d_u, OUT: self.out, SAVED: self.saved, KEPT: self.kept}
        buffers |= {Buffer(Kind.D_PRODUCT, k): tensor for k, tensor in enumerate(d_product)}
        buffers |= {Buffer(Kind.AFTER, k): tensor for k, tensor in enumerate(self.after)}
        inputs, d_weights = self._by_weights(buffers)
        add_vectors(made, d_weights, d_param)
        return [*inputs, *d_state, *d_fresh, *d_weights.values()]

    def _by_weights(self, buffers: dict[Buffer, Tensor]) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """(by x or u, by the matrix, by the bias) and by all other weights; each gradient is read only once."""
        made, narrow, d_u = self.made, self.run.kernel.narrow, buffers[D_U]
        whole = (Place(D_U, 0), made.inputs)
        sides: dict[tuple[Place, int], list[Side]] = {}
        inputs: list[Tensor | None] = [d_u, None, None]
        if self.matrix is not None:
            assert self.x is not None
            inputs[0] = None
            if self.wanted[0]:
                inputs[0] = product(d_u, self.matrix, transposed=True, bf16=narrow).view(self.x.shape)
            if any(self.wanted[1:]):
                d_matrix = WORKSPACE.empty(*self.matrix.shape)
                inputs[1:] = [d_matrix, None if self.bias is None else torch.empty_like(self.bias)]
                sides[whole] = [Side(self.x.view(-1, self.x.shape[-1]), d_matrix)]
        d_weights, windows, again = _windows(self.weights, made.weights)
        for one, into in zip(made.weights, windows, strict=True):
            sides.setdefault((one.gradient, one.rows), []).append(Side(self._operand(one, buffers), into))
        for (place, rows), given in sides.items():
            gradient = buffers[place.buffer][:, place.offset : place.offset + rows]
            outer(gradient, given, inputs[2] if (place, rows) == whole else None, bf16=narrow)
        for window, more in again:
            window.add_(more)
        return inputs, d_weights

    def _operand(self, one: WeightGradient, buffers: dict[Buffer, Tensor]) -> Tensor:
        """float32 [N, D], or the addresses of its rows if they are states before a step."""
        place = one.operand
        if place.buffer.kind is not Kind.BEFORE:
            return buffers[place.buffer][:, place.offset : place.offset + one.columns]
        k = place.buffer.state
        total, batch, size = len(self.after[k]), len(self.state[k]), 4 * self.after[k].shape[1]
        index = self.run.layout.before(batch)
        if index is None:
            return self.held[k][:total, place.offset : place.offset + one.columns]
        rows = torch.where(index < total, index + batch, index - total)
        found = address(self.held[k]) + size * rows
        if self.fresh:
            anew = address(self.fresh[k]) + size * (index - total - batch)
            found = torch.where(index < total + batch, found, anew)
        return found + 4 * place.offset


def _windows(
    weights: dict[str, Tensor], gradients: Sequence[WeightGradient]
) -> tuple[dict[str, Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
    """(gradient of each weight; target of each product; (window, what to add to it) for parts used twice)."""
    d_weights, windows, again = {}, [], []
    for name, weight in weights.items():
        whole = any(one.param == name and weight.shape == (one.rows, one.columns) for one in gradients)
        d_weights[name] = WORKSPACE.empty(*weight.shape) if whole else torch.zeros_like(weight)
    for number, one in enumerate(gradients):
        window = d_weights[one.param][one.row : one.row + one.rows, one.column : one.column + one.columns]
        if any(_overlap(one, other) for other in gradients[:number]):
            again.append((window, torch.empty_like(window, memory_format=torch.contiguous_format)))
            window = again[-1][1]
        windows.append(window)
    return d_weights, windows, again


def _overlap(a: WeightGradient, b: WeightGradient) -> bool:
    rows = a.row < b.row + b.rows and b.row < a.row + a.rows
    return a.param == b.param and rows and a.column < b.column + b.columns and b.column < a.column + a.columns


def _once_more(run: Run[Kernel], tensors: Inputs, gradients: list[Tensor]) -> list[Tensor | None]:
    """A backward pass after the saved values are lost, from a second forward pass.

    They are overwritten by the first pass through a retained graph, or by a caller that writes into the output. Both
    are rare, while a copy would cost every call.
    """
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        outputs = Fused.apply(replace(run, keep=True, writable=False), *leaves)  # type: ignore[no-untyped-call]  # torch: no types
    return by(outputs, leaves, gradients)
