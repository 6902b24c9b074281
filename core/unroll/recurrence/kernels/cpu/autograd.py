"""The forward and the backward pass of a kernel as one function of autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, where
from unroll.recurrence.context import intercepted
from unroll.recurrence.kernels.buffers import D_U, KEPT, OUT, SAVED, Buffer, Kind, Place
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.linear import Side, outer, pack, product, projected
from unroll.recurrence.kernels.cpu.native import Call, address
from unroll.recurrence.kernels.layout import Layout, final_state
from unroll.recurrence.kernels.plan import Program, WeightGradient
from unroll.recurrence.kernels.schedule import Packed
from unroll.recurrence.kernels.trace import shadow
from unroll.recurrence.kernels.workspace import WORKSPACE

if TYPE_CHECKING:
    from unroll.recurrence.kernels.cpu.cpu_kernel import Kernel

FEW = 4
"""rows per thread below which all threads work on the same rows"""
INPUTS = 3
"""tensors at the input side: x, matrix and bias (or None) of u = x matrix' + bias; or u itself and twice None"""
Inputs = Sequence[Tensor | None]


@dataclass(frozen=True)
class Run:
    """One call: all that is no tensor of the graph.

    Attributes:
        cell: as it was when it was called.
        keep: whether a backward pass may follow.
        writable: whether the caller may write into the output, which that pass reads.
        project: recomputes u, differentiably, for a kernel that keeps none.
    """

    cell: Cell
    kernel: Kernel
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

    def call(self, batch: int, weights: dict[str, Tensor], packed: Sequence[Packed]) -> tuple[Call, list[Tensor]]:
        """What forward and backward have in common, and the tensors that must outlive it."""
        threads = native.threads()
        shared = batch < FEW * threads
        threads = threads if shared else min(threads, batch)
        scratch, size = self.kernel.scratch(batch, threads, shared)
        layout = self.layout
        holds = [scratch, *(pack(weights[part.param], part, self.kernel.narrow) for part in packed)]
        call = Call(len(layout.counts), batch, threads, shared, address(layout.counts), address(layout.offsets))
        call.reset, call.mask = address(layout.reset), address(self.mask)
        call.scratch, call.scratch_size = address(scratch), size
        for k, (name, offset, _) in enumerate(self.kernel.program.params):
            call.param[k] = address(weights[name]) + 4 * offset
        for k, tensor in enumerate(holds[1:]):
            call.packed[k] = address(tensor)
        call.product, call.of_units = self.kernel.products
        return call, holds

    def units(self, rows: int, width: int) -> Tensor:
        """A buffer of what stands at the input side of a step."""
        return WORKSPACE.empty(rows, width, dtype=torch.bfloat16 if self.kernel.narrow else torch.float32)


class Fused(torch.autograd.Function):
    """forward(run, x, matrix, bias, *states, *fresh states, *weights) -> output [N, O] and the states."""

    @staticmethod
    def forward(ctx: Any, run: Run, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        made, layout = run.kernel.program, run.layout
        contiguous = [None if tensor is None else native.rows(tensor.detach()) for tensor in tensors]
        (x, matrix, bias), rest = contiguous[:INPUTS], contiguous[INPUTS:]
        state, fresh, weights = run.parted(cast("list[Tensor]", rest))
        u = _projected(run, x, matrix, bias)
        batch, total = state[0].shape[0], u.shape[0]
        call, holds = run.call(batch, weights, made.forward)
        rings = [not run.keep and not (k == 0 and made.aliased) for k in range(len(state))]
        held = [_held(first, 2 * batch if ring else total) for first, ring in zip(state, rings, strict=True)]
        after = [tensor[batch:] for tensor in held]
        out = after[0] if made.aliased else WORKSPACE.empty(total, made.outputs)
        saved = WORKSPACE.empty(total if run.keep else 0, made.saved)
        # What the backward step needs may stand where u stood, if u is nobody else's.
        mine = matrix is not None and run.keep and made.over_u
        kept = u if mine else run.units(total if run.keep and made.over_u else 0, made.inputs)
        call.u, call.out, call.saved, call.kept = address(u), address(out), address(saved), address(kept)
        for k, tensor in enumerate(after):
            call.state[k], call.initial[k] = address(tensor), address(state[k])
            call.fresh[k] = address(fresh[k]) if fresh else None
        (run.kernel.forward_keep if run.keep else run.kernel.forward_bare)(ctypes.byref(call))
        del holds
        if run.keep:
            ctx.given = _Given(tensors, _read_again(run, tensors))
            ctx.save_for_backward(*ctx.given.saved(tensors), u if made.needs_u else kept, kept, saved, *held, out)
            out = out.data if run.writable else out  # no view, and its writes are counted apart from what is kept
            ctx.run, ctx.spent, ctx.writes = run, False, _Writes(out) if run.writable else None
        final = (
            final_state(layout, tensor, first, ring) for tensor, first, ring in zip(after, state, rings, strict=True)
        )
        return (out, *final)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, *d_after: Tensor) -> tuple[Tensor | None, ...]:
        run: Run = ctx.run
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


def _read_again(run: Run, tensors: Inputs) -> list[bool]:
    """Which of the tensors a first backward pass reads: what changes of the others is no harm to it."""
    (x, matrix, bias), count = tensors[:INPUTS], len(tensors) - INPUTS - len(run.kernel.names)
    followed = [tensor is not None and tensor.requires_grad for tensor in (x, matrix, bias)]
    inputs = [matrix is None or any(followed[1:]), followed[0], False]
    return [*inputs, *[True] * count, *(name in run.kernel.program.read_again for name in run.kernel.names)]


class _Given:
    """What a call was given and its first backward pass does not read: autograd need not guard it, a second one must.

    Args:
        tensors: all that the call was given.
        read: which of them the first backward pass reads.
    """

    def __init__(self, tensors: Inputs, read: Sequence[bool]) -> None:
        self.read = read
        self.others = [None if one else tensor for tensor, one in zip(tensors, read, strict=True)]
        self.versions = [_version(tensor) for tensor in self.others]

    def saved(self, tensors: Inputs) -> list[Tensor | None]:
        """Those that autograd keeps."""
        return [tensor if one else None for tensor, one in zip(tensors, self.read, strict=True)]

    def all(self, saved: Inputs) -> list[Tensor | None]:
        """Those and the others."""
        return [kept if one else other for kept, other, one in zip(saved, self.others, self.read, strict=True)]

    def check(self) -> None:
        """Before the others are read.

        Raises:
            RuntimeError: one of them was written into, as autograd puts it.
        """
        for tensor, version in zip(self.others, self.versions, strict=True):
            if _version(tensor) != version:
                assert tensor is not None
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor {list(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
                )


def _version(tensor: Tensor | None) -> int:
    """How often it was written into; a tensor of inference mode does not count."""
    return 0 if tensor is None or tensor.is_inference() else tensor._version


_NOTHING = torch.empty(0, dtype=torch.float32, device="cpu")


class _Writes:
    """Whether anybody has written into a tensor, or a view of it, since; holds none of its memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.counter = tensor.detach()  # the version is shared; the memory is let go
        self.counter.data = _NOTHING
        self.before = self.counter._version

    def seen(self) -> bool:
        """As torch counts them, for its own check of saved tensors."""
        return self.counter._version != self.before


def _held(first: Tensor, rows: int) -> Tensor:
    """Room for all states of a kind, the one before the first step in front."""
    batch, width = first.shape
    held = WORKSPACE.empty(batch + rows, width)
    held[:batch] = first
    return held


def _projected(run: Run, x: Tensor | None, matrix: Tensor | None, bias: Tensor | None) -> Tensor:
    """u [N, P] of the input side."""
    assert x is not None
    if matrix is None:
        return x
    narrow = run.kernel.narrow
    return product(x.view(-1, x.shape[-1]), matrix, bias, halved=narrow, narrow=narrow)


class _Backward:
    """One backward pass.

    Args:
        run: the call.
        tensors: what `Fused.forward` was given.
        kept: what it kept: u (where the backward step reads it), kept, saved, the states, the output.
        wanted: whether the gradients by x, by the matrix and by the bias are.
    """

    def __init__(self, run: Run, tensors: Inputs, kept: Sequence[Tensor], wanted: Sequence[bool]) -> None:
        self.run, self.made, self.wanted = run, run.kernel.program, wanted
        contiguous = [None if tensor is None else native.rows(tensor) for tensor in tensors]
        self.x, self.matrix, self.bias = contiguous[:INPUTS]
        self.state, self.fresh, self.weights = run.parted(cast("list[Tensor]", contiguous[INPUTS:]))
        self.u, self.kept, self.saved, *self.held, self.out = kept
        self.after = [tensor[first.shape[0] :] for tensor, first in zip(self.held, self.state, strict=True)]

    def gradients(self, d_out: Tensor, d_after: Sequence[Tensor]) -> list[Tensor | None]:
        """By everything that `Fused.forward` was given."""
        run, made, batch, total = self.run, self.made, self.state[0].shape[0], d_out.shape[0]
        call, holds = run.call(batch, self.weights, made.backward)
        d_u = self.kept if made.over_kept else run.units(total, made.inputs)
        d_state = [native.rows(gradient).clone() for gradient in d_after]
        d_fresh = [torch.zeros_like(tensor) for tensor in self.fresh]
        d_product = [run.units(total, rows) for rows in made.products]
        d_param = d_out.new_zeros(call.threads, sum(width for _, _, width in made.d_params))
        call.u, call.out, call.saved = address(self.u), address(self.out), address(self.saved)
        call.kept, call.d_out, call.d_u, call.d_param = (
            address(self.kept), address(d_out), address(d_u), address(d_param),
        )  # fmt: skip
        for k, tensor in enumerate(self.after):
            call.state[k], call.initial[k] = address(tensor), address(self.state[k])
            call.d_state[k] = address(d_state[k])
        for k, tensor in enumerate(self.fresh):
            call.fresh[k], call.d_fresh[k] = address(tensor), address(d_fresh[k])
        for k, tensor in enumerate(d_product):
            call.d_product[k] = address(tensor)
        run.kernel.backward(ctypes.byref(call))
        del holds
        buffers = {D_U: d_u, OUT: self.out, SAVED: self.saved, KEPT: self.kept}
        buffers |= {Buffer(Kind.D_PRODUCT, k): tensor for k, tensor in enumerate(d_product)}
        buffers |= {Buffer(Kind.AFTER, k): tensor for k, tensor in enumerate(self.after)}
        inputs, d_weights = self._by_weights(buffers)
        add_vectors(made, d_weights, d_param)
        return [*inputs, *d_state, *d_fresh, *d_weights.values()]

    def _by_weights(self, buffers: dict[Buffer, Tensor]) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """(by x or u, by the matrix, by the bias) and by all other weights; each gradient is read once for all."""
        made, narrow, d_u = self.made, self.run.kernel.narrow, buffers[D_U]
        whole = (Place(D_U, 0), made.inputs)
        sides: dict[tuple[Place, int], list[Side]] = {}
        inputs: list[Tensor | None] = [d_u, None, None]
        if self.matrix is not None:
            assert self.x is not None
            inputs[0] = None
            if self.wanted[0]:
                inputs[0] = product(d_u, self.matrix, transposed=True, halved=narrow).view(self.x.shape)
            if any(self.wanted[1:]):
                d_matrix = WORKSPACE.empty(*self.matrix.shape)
                inputs[1:] = [d_matrix, None if self.bias is None else torch.empty_like(self.bias)]
                sides[whole] = [Side(self.x.view(-1, self.x.shape[-1]), d_matrix)]
        d_weights, windows, again = _windows(self.weights, made.weights)
        for one, into in zip(made.weights, windows, strict=True):
            sides.setdefault((one.gradient, one.rows), []).append(Side(self._operand(one, buffers), into))
        for (place, rows), given in sides.items():
            gradient = buffers[place.buffer][:, place.offset : place.offset + rows]
            outer(gradient, given, inputs[2] if (place, rows) == whole else None, halved=narrow)
        for window, more in again:
            window.add_(more)
        return inputs, d_weights

    def _operand(self, one: WeightGradient, buffers: dict[Buffer, Tensor]) -> Tensor:
        """float32 [N, D], or the addresses of its rows where these are states before a step."""
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
    """(gradient of each weight; where each product goes; (window, what is to be added to it) of a part used twice)."""
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


def add_vectors(program: Program, d_weights: dict[str, Tensor], d_param: Tensor) -> None:
    """The sums of what each thread (or block) has added up, onto the gradients of the vectors."""
    at = 0
    for name, offset, width in program.d_params:
        d_weights[name].view(-1)[offset : offset + width].add_(d_param[:, at : at + width].sum(0))
        at += width


def _once_more(run: Run, tensors: Inputs, gradients: list[Tensor]) -> list[Tensor | None]:
    """A backward pass when what was kept is lost, from a second forward one.

    The first pass through a graph that is retained overwrites it, and a caller who writes into the output: both are
    rarer than a copy for everybody would be dear.
    """
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        outputs = Fused.apply(replace(run, keep=True, writable=False), *leaves)  # type: ignore[no-untyped-call]  # torch: no types
    return _by(outputs, leaves, gradients)


def twice(run: Run, tensors: Inputs, gradients: list[Tensor]) -> list[Tensor | None]:
    """The gradients in torch's operations, by the loop over `step`: to be differentiated again, and for watchers.

    Raises:
        RuntimeError: what the step reads besides its inputs is not what it was when it was called.
    """
    differentiable = torch.is_grad_enabled()
    if not run.kernel.guard.holds(run.cell):
        changed = ", ".join(run.kernel.guard.changed(run.cell))
        raise RuntimeError(f"{type(run.cell).__name__} was changed between forward and backward: {changed}")
    with torch.enable_grad():
        return _by(_loop(run, *tensors), tensors, gradients, create_graph=differentiable)


def _by(
    outputs: Sequence[Tensor], inputs: Inputs, gradients: list[Tensor], create_graph: bool = False
) -> list[Tensor | None]:
    reached = [output.requires_grad for output in outputs]
    wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]
    there: list[Any] = list(compress(inputs, wanted))
    found = torch.autograd.grad(
        list(compress(outputs, reached)), there, list(compress(gradients, reached)),
        create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    given = iter(found)
    return [next(given) if one else None for one in wanted]


def _loop(run: Run, x: Tensor | None, matrix: Tensor | None, bias: Tensor | None, *tensors: Any) -> tuple[Tensor, ...]:
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
