"""The fused CPU path of any cell whose step can be traced: one thread team, one pass, no padding.

    output, state = run(cell, x, state, lengths=lengths, reset=reset, fresh=fresh)

The rows of a batch are independent of each other, so each thread takes its own and walks the whole sequence without
waiting for another: the product of a few rows with weights that were packed once, then everything pointwise while the
state is in the cache. The gradients by the weights are large products after the loop. Only where a thread would have
fewer than four rows do all of them share each step.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.recurrence.cell import Cell, State, where
from core.recurrence.kernels import native
from core.recurrence.kernels.emit import source
from core.recurrence.kernels.layout import Layout, final_state
from core.recurrence.kernels.linear import FastLinear, outer, pack, straight_from_linear
from core.recurrence.kernels.native import Call, CannotCompile, address
from core.recurrence.kernels.phases import Packed
from core.recurrence.kernels.plan import Program, WeightGradient, program
from core.recurrence.kernels.trace import CannotFuse, shadow, trace
from core.recurrence.kernels.workspace import WORKSPACE

FEW = 4
"""rows per thread below which all threads work on the same rows"""


class Kernel:
    """The compiled steps of one kind of cell.

    Raises:
        CannotFuse, CannotCompile: why there is none.
    """

    def __init__(self, cell: Cell, inputs: int, masked: bool) -> None:
        self.base = native.base()
        self.program: Program = program(trace(cell, inputs, masked=masked))
        made = self.program
        if max(len(made.params), len(made.forward), len(made.backward)) > native.PARAMS:
            raise CannotFuse("it has more weights than a call can hold")
        if len(made.states) > native.STATES or len(made.products) > native.PRODUCTS:
            raise CannotFuse("it has more states or products than a call can hold")
        library = native.load(source(self.program))
        self.forward_keep, self.forward_bare = library.forward_keep, library.forward_bare
        self.backward = library.backward
        names = [packed.param for packed in self.program.forward] + [name for name, _, _ in self.program.params]
        self.names = list(dict.fromkeys(names))

    def apply(self, run: Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Output and states, differentiably."""
        return _Fused.apply(run, *tensors)  # type: ignore[no-untyped-call,no-any-return]

    def scratch(self, batch: int, threads: int, shared: bool) -> tuple[Tensor, int]:
        """(floats, floats per thread): a part for the values of the thread's rows, a part for rounded operands."""
        rows = batch if shared else -(-batch // threads)
        size = max(rows * self.program.scratch, min(rows, 512) * (self.program.depth + 2) // 2) + 64
        size = -(-size // 16) * 16
        return WORKSPACE.empty(size * ((1 + threads) if shared else 2 * threads)), size


class _Kernels(dict[tuple[Any, ...], Any]):
    """The kernels of a cell, kept with it: shared by shallow copies, and neither deep-copied nor pickled."""

    def __deepcopy__(self, memo: Any) -> _Kernels:
        return _Kernels()

    def __reduce__(self) -> Any:
        return _Kernels, ()


def kernels(cell: Cell) -> dict[tuple[Any, ...], Any]:
    """All that were made for a cell and its shallow copies so far."""
    known: _Kernels = cell.__dict__.setdefault("_kernels", _Kernels())
    return known


_lock = threading.Lock()


def kernel_of(cell: Cell, masked: bool = False, kind: Callable[[Cell, int, bool], Any] = Kernel) -> Any:
    """The cell's kernel, or one line that says why it has none. Made at the first call, which may take a second.

    `kind` makes it: Kernel, or what offers the same `program`, `names` and `apply`.
    """
    key = (kind, masked, cell.training, type(cell).step, cell.extra_repr())
    with _lock:
        known = kernels(cell)
        if key not in known:
            try:
                known[key] = kind(cell, _inputs(cell), masked)
            except (CannotFuse, CannotCompile) as error:
                known[key] = str(error)
        return known[key]


def _inputs(cell: Cell) -> int:
    """P, the width of what `project` returns."""
    if cell.extent_dims:
        raise CannotFuse("its rows are maps, not vectors")
    with torch.no_grad():
        like = next(cell.parameters())
        return cell.project(like.new_zeros(1, 1, cell.input_size)).shape[-1]


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
    mask: Tensor | None = None,
    halved: bool = False,
    kind: Callable[[Cell, int, bool], Any] = Kernel,
) -> tuple[Tensor, State]:
    """What `loop(cell.step, cell.project(x), ...)` gives: x [T, B, D] -> output [T, B, O] and the state.

    Rows are sorted by length and steps past their ends left out, so that no padding is ever computed.

    Raises:
        ValueError: the cell has no kernel; says why.
    """
    kernel = kernel_of(cell, mask is not None, kind)
    if isinstance(kernel, str):
        raise ValueError(kernel)
    steps, batch = x.shape[:2]
    if batch == 0 or (lengths is not None and not bool(lengths.any())):
        return x.new_zeros(steps, batch, cell.output_size), state
    if lengths is None:
        layout = Layout.full(steps, batch, None if reset is None else reset.flatten())
        project = lambda: cell.project(x).flatten(0, 1)  # noqa: E731
        output, after = advance(cell, kernel, project, state, layout, fresh=fresh, mask=mask, halved=halved)
        return output.view(steps, batch, -1), after
    order = lengths.argsort(descending=True, stable=True)
    time, row = (torch.arange(steps).unsqueeze(1) < lengths[order]).nonzero(as_tuple=True)
    tokens, order = (time * batch + order[row]).to(x.device), order.to(x.device)
    counts = torch.bincount(time, minlength=1)
    state = tuple(tensor.index_select(0, order) for tensor in state)
    fresh = None if fresh is None else tuple(tensor.index_select(0, order) for tensor in fresh)
    layout = Layout.packed(counts, batch, None if reset is None else reset.flatten()[tokens])
    packed = x.flatten(0, 1).index_select(0, tokens).unsqueeze(1)
    project = lambda: cell.project(packed).squeeze(1)  # noqa: E731
    mask = None if mask is None else mask.index_select(0, order)
    output, after = advance(cell, kernel, project, state, layout, fresh=fresh, mask=mask, halved=halved)
    full = output.new_zeros(steps * batch, output.shape[1]).index_copy(0, tokens, output)
    return full.view(steps, batch, -1), tuple(tensor.index_select(0, order.argsort()) for tensor in after)


def advance(
    cell: Cell,
    kernel: Kernel,
    project: Callable[[], Tensor],
    state: State,
    layout: Layout,
    *,
    fresh: State | None = None,
    mask: Tensor | None = None,
    halved: bool = False,
) -> tuple[Tensor, State]:
    """All steps of a packed batch.

    Args:
        cell: whose weights are used.
        kernel: its kernel.
        project: makes u [N, P], float32.
        state: [B, n] each, before the first step.
        layout: which rows stand where.
        fresh: the state of a row that is reset; given whenever the layout has resets.
        mask: [B, H], multiplied onto the hidden state on its way into the products.
        halved: products of bfloat16 operands; sums and states stay float32.

    Returns:
        output [N, O] and the state of each row after its own last step.
    """
    with FastLinear(halved):
        u = project()
    weights = dict(cell.named_parameters(remove_duplicate=False))
    given = list(state) + (list(fresh) if fresh and layout.reset is not None else [])
    tensors = [u, *given, *(weights[name] for name in kernel.names)]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    owned = keep and kernel.program.over_u and u.is_contiguous() and straight_from_linear(u)
    run = Run(cell, kernel, layout, mask, halved, keep, owned, project)
    output, *after = kernel.apply(run, *tensors)
    return output, tuple(after)


@dataclass(frozen=True)
class Run:
    """One call: all that is no tensor of the graph."""

    cell: Cell
    kernel: Kernel
    layout: Layout
    mask: Tensor | None
    halved: bool
    keep: bool
    owned: bool
    project: Callable[[], Tensor]

    def parted(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """The tensors after u: states, fresh states (none without resets), weights by name."""
        count = len(self.kernel.program.states)
        given = 2 * count if self.layout.reset is not None else count
        weights = dict(zip(self.kernel.names, tensors[given:], strict=True))
        return list(tensors[:count]), list(tensors[count:given]), weights

    def call(self, batch: int, weights: dict[str, Tensor], packed: Sequence[Packed]) -> tuple[Call, list[Tensor]]:
        """What forward and backward have in common, and the tensors that must outlive it."""
        threads = torch.get_num_threads()
        shared = batch < FEW * threads
        threads = threads if shared else min(threads, batch)
        scratch, size = self.kernel.scratch(batch, threads, shared)
        layout, base = self.layout, self.kernel.base
        holds = [scratch, *(pack(weights[part.param], part, self.halved) for part in packed)]
        call = Call(len(layout.counts), batch, threads, shared, address(layout.counts), address(layout.offsets))
        call.reset, call.mask = address(layout.reset), address(self.mask)
        call.scratch, call.scratch_size = address(scratch), size
        for k, (name, offset, _) in enumerate(self.kernel.program.params):
            call.param[k] = address(weights[name]) + 4 * offset  # type: ignore[operator]
        for k, tensor in enumerate(holds[1:]):
            call.packed[k] = address(tensor)
        call.product = ctypes.cast(base.half_product if self.halved else base.product, ctypes.c_void_p)
        return call, holds


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, u: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        made, layout = run.kernel.program, run.layout
        u, *contiguous = (tensor.detach().contiguous() for tensor in (u, *tensors))
        state, fresh, weights = run.parted(contiguous)
        batch, total = len(state[0]), len(u)
        call, holds = run.call(batch, weights, made.forward)
        out = WORKSPACE.empty(total, made.outputs)
        after = [
            out if k == 0 and made.aliased else WORKSPACE.empty(total if run.keep else 2 * batch, width)
            for k, width in enumerate(made.states)
        ]
        saved = WORKSPACE.empty(total if run.keep else 0, made.saved)
        kept = u if run.owned else WORKSPACE.empty(total if run.keep and made.over_u else 0, made.inputs)
        call.u, call.out, call.saved, call.kept = address(u), address(out), address(saved), address(kept)
        for k, tensor in enumerate(after):
            call.state[k], call.initial[k] = address(tensor), address(state[k])
            call.fresh[k] = address(fresh[k]) if fresh else None
        (run.kernel.forward_keep if run.keep else run.kernel.forward_bare)(ctypes.byref(call))
        del holds
        if run.keep:
            ctx.run, ctx.spent = run, False
            ctx.save_for_backward(*tensors, u if made.needs_u else kept, kept, saved, *after, out)
        rings = [not run.keep and not (k == 0 and made.aliased) for k in range(len(after))]
        final = (
            final_state(layout, tensor, first, ring) for tensor, first, ring in zip(after, state, rings, strict=True)
        )
        return (out, *final)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, *d_after: Tensor) -> tuple[Tensor | None, ...]:
        run: Run = ctx.run
        count = len(run.kernel.program.states)
        everything = ctx.saved_tensors
        tensors = everything[: -count - 4]
        if torch.is_grad_enabled():
            return (None, *twice(run, tensors, [d_out, *d_after]))
        u, kept, saved, *after, out = everything[-count - 4 :]
        if run.kernel.program.over_kept:
            if ctx.spent:
                return (None, *_once_more(run, tensors, [d_out, *d_after]))
            ctx.spent = True
        state, fresh, weights = run.parted([tensor.contiguous() for tensor in tensors])
        return (None, *_gradients(run, u, state, fresh, weights, kept, saved, after, out, d_out.contiguous(), d_after))


def _gradients(
    run: Run,
    u: Tensor,
    state: Sequence[Tensor],
    fresh: Sequence[Tensor],
    weights: dict[str, Tensor],
    kept: Tensor,
    saved: Tensor,
    after: Sequence[Tensor],
    out: Tensor,
    d_out: Tensor,
    d_after: Sequence[Tensor],
) -> list[Tensor]:
    """By u, the states, the fresh states and the weights, in the order of `_Fused.forward`'s arguments."""
    made = run.kernel.program
    batch, total = len(state[0]), len(d_out)
    call, holds = run.call(batch, weights, made.backward)
    d_u = kept if made.over_kept else WORKSPACE.empty(total, made.inputs)
    d_state = [gradient.contiguous().clone() for gradient in d_after]
    d_fresh = [torch.zeros_like(tensor) for tensor in fresh]
    d_product = [WORKSPACE.empty(total, rows) for rows in made.products]
    d_param = u.new_zeros(call.threads, sum(width for _, _, width in made.d_params))
    call.u, call.out, call.saved, call.kept = address(u), address(out), address(saved), address(kept)
    call.d_out, call.d_u, call.d_param = address(d_out), address(d_u), address(d_param)
    for k, tensor in enumerate(after):
        call.state[k], call.initial[k], call.d_state[k] = address(tensor), address(state[k]), address(d_state[k])
    for k, tensor in enumerate(fresh):
        call.fresh[k], call.d_fresh[k] = address(tensor), address(d_fresh[k])
    for k, tensor in enumerate(d_product):
        call.d_product[k] = address(tensor)
    run.kernel.backward(ctypes.byref(call))
    del holds
    buffers = {"d_u": d_u, "out": out, "saved": saved, "kept": kept}
    buffers |= {f"d_product{k}": tensor for k, tensor in enumerate(d_product)}
    buffers |= {f"after{k}": tensor for k, tensor in enumerate(after)}
    return [d_u, *d_state, *d_fresh, *weight_gradients(run, weights, buffers, d_param, after, state, fresh)]


def weight_gradients(
    run: Run,
    weights: dict[str, Tensor],
    buffers: dict[str, Tensor],
    d_param: Tensor,
    after: Sequence[Tensor],
    state: Sequence[Tensor],
    fresh: Sequence[Tensor],
) -> list[Tensor]:
    """Large products over all rows and steps, and the sums of what each thread (or block) has added up."""
    made = run.kernel.program
    whole = {one.param for one in made.weights if weights[one.param].shape == (one.rows, one.columns)}
    d_weights = {
        name: torch.empty_like(weight) if name in whole else torch.zeros_like(weight)
        for name, weight in weights.items()
    }
    for one in made.weights:
        for gradient, operand in _pairs(run.layout, one, buffers, after, state, fresh):
            into = d_weights[one.param][one.row : one.row + one.rows, one.column : one.column + one.columns]
            add = one.param not in whole
            outer(gradient[:, : one.rows], operand[:, : one.columns], into, add=add, halved=run.halved)
            whole.discard(one.param)
    at = 0
    for name, offset, width in made.d_params:
        d_weights[name].view(-1)[offset : offset + width] += d_param[:, at : at + width].sum(0)
        at += width
    return list(d_weights.values())


def _pairs(
    layout: Layout,
    one: WeightGradient,
    buffers: dict[str, Tensor],
    after: Sequence[Tensor],
    state: Sequence[Tensor],
    fresh: Sequence[Tensor],
) -> list[tuple[Tensor, Tensor]]:
    """(gradients of the product's result, operands), row by row, in as few matrices as there are."""
    gradient = buffers[one.gradient.buffer][:, one.gradient.offset :]
    if not one.operand.buffer.startswith("before"):
        return [(gradient, buffers[one.operand.buffer][:, one.operand.offset :])]
    k = int(one.operand.buffer.removeprefix("before"))
    batch = len(state[k])
    index = layout.before(batch)
    if index is None:
        rest = len(gradient) - batch
        pairs = [(gradient[:batch], state[k]), (gradient[batch:], after[k][:rest])]
    else:
        states = torch.cat([after[k], state[k], *fresh[k : k + 1]])
        pairs = [(gradient, states.index_select(0, index.to(states.device)))]
    return [(left, right[:, one.operand.offset :]) for left, right in pairs]


def _once_more(run: Run, tensors: Sequence[Tensor], gradients: list[Tensor]) -> list[Tensor | None]:
    """A second backward pass through a graph that was retained: the first one has overwritten what was kept."""
    leaves = [tensor.detach().requires_grad_() for tensor in (run.project(), *tensors)]
    with torch.enable_grad():
        outputs = _Fused.apply(replace(run, keep=True, owned=False), *leaves)  # type: ignore[no-untyped-call]
    return list(torch.autograd.grad(outputs, leaves, gradients, allow_unused=True))


def twice(run: Run, tensors: Sequence[Tensor], gradients: list[Tensor]) -> list[Tensor | None]:
    """The gradients as differentiable functions: through the loop over `step`, the oracle. u is projected anew."""
    inputs = [
        tensor if tensor.requires_grad else tensor.detach().requires_grad_() for tensor in (run.project(), *tensors)
    ]
    outputs = _loop(run, *inputs)
    return list(torch.autograd.grad(outputs, inputs, gradients, create_graph=True, allow_unused=True))


def _loop(run: Run, u: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    given, anew, weights = run.parted(tensors)
    cell = shadow(run.cell, weights.get)
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
