"""The fused CPU path of any cell whose step can be traced: one thread team, one pass, no padding.

    output, state = run(cell, x, state, lengths=lengths, reset=reset, fresh=fresh)

The rows of a batch are independent of each other, so each thread takes its own and walks the whole sequence without
waiting for another: the product of a few rows with weights that were packed once, then everything pointwise while the
state is in the cache. The gradients by the weights are large products after the loop. Only where a thread would have
fewer than four rows do all of them share each step.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell, State, loop, masked
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import Fused, Run
from unroll.recurrence.kernels.cpu.codegen_c import source
from unroll.recurrence.kernels.cpu.compiled import CannotCompile, load
from unroll.recurrence.kernels.cpu.linear import FastLinear, deferred
from unroll.recurrence.kernels.graph import ByDesign, CannotFuse
from unroll.recurrence.kernels.layout import Layout
from unroll.recurrence.kernels.plan import program
from unroll.recurrence.kernels.reads import Guard, Reads, settled
from unroll.recurrence.kernels.schedule import whole_lines
from unroll.recurrence.kernels.trace import StepGraph, projected_width, shadow, trace
from unroll.recurrence.kernels.workspace import WORKSPACE


class Kernel:
    """The compiled steps of one kind of cell.

    Attributes:
        narrow: whether products have bfloat16 operands, and what stands at the input side of a step is bfloat16.
        program: what was compiled.
        products: how rows are multiplied: of float32, and of what stands at the input side.
        direct: whether the product of x in `project` is one function with the steps, which hold what follows it.
        stacks: single steps of several cells of which this is the lowest; see `unroll.recurrence.one_step`.
        guard: all that was read while the cell was traced.

    Raises:
        CannotFuse, CannotCompile: why there is none.
    """

    narrow = False
    guard: Guard

    def __init__(self, cell: Cell, masked: bool, reads: Reads) -> None:
        self.base = native.base()
        traced = _traced(cell, masked, reads)
        self.direct = traced.direct
        made = self.program = program(traced)
        if max(len(made.params), len(made.forward), len(made.backward)) > native.PARAMS:
            raise CannotFuse("it has more weights than a call can hold")
        if len(made.states) > native.STATES or len(made.products) > native.PRODUCTS:
            raise CannotFuse("it has more states or products than a call can hold")
        library = load(source(self.program, self.narrow), "forward_keep", "forward_bare", "backward")
        self.forward_keep, self.forward_bare = library.forward_keep, library.forward_bare
        self.backward = library.backward
        products = (self.base.half_product, self.base.narrow_product) if self.narrow else (self.base.product,) * 2
        self.products = [ctypes.cast(one, ctypes.c_void_p) for one in products]
        names = [packed.param for packed in self.program.forward] + [name for name, _, _ in self.program.params]
        self.names = list(dict.fromkeys(names))
        self.stacks: dict[Any, Any] = {}
        self.named: tuple[str, str | None] | None = None

    def inputs(self, cell: Cell, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """x, matrix and bias of the product in `project`; of our own cells by name after the first call."""
        if self.named is not None:
            matrix, bias = (None if name is None else cell._parameters[name] for name in self.named)
            assert matrix is not None
            return x, matrix, bias
        found = deferred(cell, x)
        names = {id(weight): name for name, weight in cell._parameters.items() if weight is not None}
        matrix_name, bias_name = names.get(id(found.weight)), names.get(id(found.bias))
        if found.input is x and matrix_name is not None and (bias_name is not None or found.bias is None):
            self.named = (matrix_name, bias_name) if settled(type(cell).project.__module__) else None
        return found

    def apply(self, run: Run, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Output and states, differentiably."""
        return Fused.apply(run, *tensors)  # type: ignore[no-untyped-call,no-any-return]  # torch: no types

    def scratch(self, batch: int, threads: int, shared: bool) -> tuple[Tensor, int]:
        """(floats, floats per thread): a part for the values of the thread's rows, a part for rounded operands."""
        rows = batch if shared else -(-batch // threads)
        rounded = min(rows, 512) * (self.program.depth + native.DEEP) // 2
        size = whole_lines(max(rows * self.program.scratch, rounded) + 64)
        return WORKSPACE.empty(size * ((1 + threads) if shared else 2 * threads)), size


def _traced(cell: Cell, masked: bool, reads: Reads) -> StepGraph:
    """With `project`, where that can be traced as well."""
    try:
        return trace(cell, None, masked=masked, reads=reads)
    except CannotFuse:
        reads.forget()  # what `project` reads is read at every call
        return trace(cell, projected_width(cell), masked=masked, reads=reads)


class Narrow(Kernel):
    """The same under bfloat16: sums and states stay float32; the input side is bfloat16 in memory."""

    narrow = True


class Told(str):
    """Why a cell has no kernel, where that is no matter of course: whoever runs it by default is told."""


MOST = 8
"""kernels of a cell whose attributes keep changing: then it stays on the loop"""
_Known = dict[tuple[Any, ...], list[tuple[Guard, Any]]]


class _Kernels(_Known):
    """The kernels of a cell, kept with it and shared by its shadows; see `Cell.__getstate__`."""


def kernels(cell: Cell) -> _Known:
    """All that were made for a cell and its shallow copies so far, each with what must be as it was."""
    known: _Kernels = cell.__dict__.setdefault("_kernels", _Kernels())
    return known


_lock = threading.Lock()


def kernel_of(cell: Cell, masked: bool = False, kind: Callable[[Cell, bool, Reads], Any] = Kernel) -> Any:
    """The cell's kernel, or one line that says why it has none. Made at the first call, which may take a second.

    `kind` makes it: Kernel, or what offers the same `program`, `names`, `narrow`, `direct` and `apply`. It is rebuilt
    after a change of anything that the step reads.
    """
    known = kernels(cell).setdefault((kind, masked, type(cell)), [])
    for guard, kernel in known:
        if guard.holds(cell):
            return kernel
    with _lock:
        for guard, kernel in known:  # another thread may have made it meanwhile
            if guard.holds(cell):
                return kernel
        if len(known) == MOST:
            changing = ", ".join(known[-1][0].changed(cell))
            return Told(f"{changing} has had more than {MOST} values, each of which is compiled: make it a parameter")
        known.append(_made(cell, masked, kind))
        return known[-1][1]


def _made(cell: Cell, masked: bool, kind: Callable[[Cell, bool, Reads], Any]) -> tuple[Guard, Any]:
    """The kernel or why there is none, and what that depends on."""
    reads = Reads()
    try:
        kernel = kind(cell, masked, reads)
    except ByDesign as error:
        kernel = str(error)
    except (CannotFuse, CannotCompile) as error:
        kernel = Told(error)
    guard = reads.guard()
    if not isinstance(kernel, str):
        kernel.guard = guard
    return guard, kernel


_told: set[tuple[type, str]] = set()


def tell(cell: Cell, why: Told) -> None:
    """Once for a class and a reason: its steps run one by one, which nobody asked for."""
    if (type(cell), why) not in _told:
        _told.add((type(cell), why))
        logging.getLogger("unroll.recurrence").warning(
            '%s runs step by step, without a compiled kernel: %s (backend="eager" says that this is meant)',
            type(cell).__name__,
            why,
        )


def run(
    kernel: Any,
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
    """What `loop(cell.step, cell.project(x), ...)` gives: x [T, B, D] -> output [T, B, O] and the state.

    Rows are sorted by length and steps past their ends left out, so that no padding is ever computed.
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
        x: [T, B, D] or [N, 1, D], float32: N rows as the layout has them.
        state: [B, n] each, before the first step.
        layout: which rows stand where.
        fresh: the state of a row that is reset; given whenever the layout has resets.
        mask: [B, H], multiplied onto the hidden state on its way into the products.
        writable: whether the caller may write into the output.

    Returns:
        output [N, O] and the state of each row after its own last step.
    """

    inputs = kernel.inputs(cell, x) if kernel.direct else (_projected(kernel, cell, x), None, None)
    states = list(state) + (list(fresh) if fresh and layout.reset is not None else [])
    tensors = [*inputs, *states, *(parameter(cell, name) for name in kernel.names)]
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    # What a second backward pass recomputes is of the cell as it was now, whatever stands in it by then.
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
    """Another tensor in the place of a buffer is none of the copy."""
    twin.__dict__["_buffers"] = dict(twin._buffers)


def parameter(cell: Any, name: str) -> Tensor:
    """By its dotted name, as it stands there now: dropout of weights puts other tensors in the place of parameters."""
    *path, last = name.split(".")
    for child in path:
        cell = cell._modules[child]
    weight: Tensor = cell._parameters[last]
    return weight
