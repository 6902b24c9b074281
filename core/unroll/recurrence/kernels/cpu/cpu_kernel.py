"""The compiled steps of a cell on the CPU: one thread team, one pass, no padding.

The rows of a batch are independent, so each thread takes its own rows through the whole sequence without waiting for
others: the product of a few rows with weights that were packed once, then everything pointwise while the state is in
the cache. The gradients by the weights are large products after the loop. Only if a thread would have fewer than four
rows do all threads share each step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.call import Run
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.codegen_c import source
from unroll.recurrence.kernels.cpu.compiled import load
from unroll.recurrence.kernels.cpu.linear import deferred, pack
from unroll.recurrence.kernels.cpu.native import Call, address
from unroll.recurrence.kernels.graph import CannotFuse
from unroll.recurrence.kernels.plan import program
from unroll.recurrence.kernels.reads import Guard, Reads, settled
from unroll.recurrence.kernels.schedule import Packed, whole_lines
from unroll.recurrence.kernels.trace import StepGraph, projected_width, trace
from unroll.recurrence.kernels.workspace import WORKSPACE

FEW = 4
"""rows per thread below which all threads work on the same rows"""


class Compiled:
    """The compiled steps of one kind of cell.

    Attributes:
        narrow: whether products have bfloat16 operands, and the input side of a step is bfloat16.
        program: the compiled plan.
        products: how rows are multiplied: float32 rows, and rows of the input side.
        direct: whether the product of x in `project` is part of the kernel; the steps then include what follows it.
        stacks: single steps of stacks in which this cell is the lowest; see `unroll.recurrence.one_step`.
        guard: everything that was read while tracing the cell.

    Raises:
        CannotFuse, CannotCompile: the cell has no kernel; says why.
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
        products = (self.base.bf16_product, self.base.narrow_product) if self.narrow else (self.base.product,) * 2
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

    def scratch(self, batch: int, threads: int, shared: bool) -> tuple[Tensor, int]:
        """(floats, floats per thread): one part for the values of the thread's rows, one for rounded operands."""
        rows = batch if shared else -(-batch // threads)
        rounded = min(rows, 512) * (self.program.depth + native.DEEP) // 2
        size = whole_lines(max(rows * self.program.scratch, rounded) + 64)
        return WORKSPACE.empty(size * ((1 + threads) if shared else 2 * threads)), size

    def call(
        self, run: Run[Any], batch: int, weights: dict[str, Tensor], packed: Sequence[Packed]
    ) -> tuple[Call, list[Tensor]]:
        """The common part of a forward and a backward call, and the tensors that must outlive it."""
        threads = native.threads()
        shared = batch < FEW * threads
        threads = threads if shared else min(threads, batch)
        scratch, size = self.scratch(batch, threads, shared)
        layout = run.layout
        holds = [scratch, *(pack(weights[part.param], part, self.narrow) for part in packed)]
        call = Call(len(layout.counts), batch, threads, shared, address(layout.counts), address(layout.offsets))
        call.reset, call.mask = address(layout.reset), address(run.mask)
        call.scratch, call.scratch_size = scratch.data_ptr(), size
        for k, (name, offset, _) in enumerate(self.program.params):
            call.param[k] = address(weights[name]) + 4 * offset
        for k, tensor in enumerate(holds[1:]):
            call.packed[k] = tensor.data_ptr()
        call.product, call.of_units = self.products
        return call, holds

    def units(self, rows: int, width: int) -> Tensor:
        """A buffer for the input side of a step."""
        return WORKSPACE.empty(rows, width, dtype=torch.bfloat16 if self.narrow else torch.float32)


def _traced(cell: Cell, masked: bool, reads: Reads) -> StepGraph:
    """Includes `project` if it can be traced as well."""
    try:
        return trace(cell, None, masked=masked, reads=reads)
    except CannotFuse:
        reads.forget()  # `project` then runs at every call
        return trace(cell, projected_width(cell), masked=masked, reads=reads)
