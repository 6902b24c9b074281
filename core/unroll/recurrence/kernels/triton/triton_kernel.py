"""The generated Triton functions of a cell, created at first use and stored with the compiled kernels."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Tensor

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.buffers import Buffer, Kind, Place
from unroll.recurrence.kernels.cpu.compiled import CannotCompile, folder
from unroll.recurrence.kernels.graph import Node
from unroll.recurrence.kernels.plan import Program, program
from unroll.recurrence.kernels.reads import Reads
from unroll.recurrence.kernels.schedule import Packed
from unroll.recurrence.kernels.trace import projected_width, trace
from unroll.recurrence.kernels.triton.codegen_triton import HEAD, Launch, direct, first_row, phases, walks
from unroll.recurrence.kernels.triton.walk import walk

Buffers = dict[Buffer, Tensor]
Weights = dict[str, Tensor]


def interpreted() -> bool:
    """Whether Triton runs on the CPU, in its interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def missing() -> str | None:
    """Why there is no Triton on this machine; None if there is."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    try:
        importlib.import_module("unroll.recurrence.kernels.triton.functions")
        folder()
    except CannotCompile as error:
        return str(error)
    except Exception as error:  # a triton of another version or for another driver may raise anything
        return f"triton cannot be imported: {type(error).__name__}: {error}"
    return None


@functools.cache
def _module(source: str) -> ModuleType:
    """The generated functions. Triton reads their source again, so they must be in a file."""
    name = f"unroll_{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    path = folder() / f"{name}.py"
    try:
        if not path.exists() or path.read_text() != source:
            own = path.with_suffix(f".{os.getpid()}")
            own.write_text(source)
            own.replace(path)
    except OSError as error:
        raise CannotCompile(f"{path}: {error}") from error
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotCompile(f"{path} cannot be imported")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Product:
    """target (+)= operand x part of a weight, between two phases.

    Attributes:
        target, operand: the first columns of each.
        part: the part of a weight.
        adds: whether it adds to an earlier result.
    """

    target: Place
    operand: Place
    part: Packed
    adds: bool

    def run(self, matrix: Tensor, buffers: Buffers, numbers: dict[str, int]) -> None:
        """For the rows of a step."""
        operand = _view(self.operand, self.part.depth, buffers, numbers)
        _view(self.target, self.part.columns, buffers, numbers).addmm_(operand, matrix, beta=int(self.adds))

    def matrix(self, weights: Weights) -> Tensor:
        """[depth, columns]."""
        part, weight = self.part, weights[self.part.param]
        if part.transposed:
            return weight[part.row : part.row + part.depth, : part.columns]
        return weight[part.row : part.row + part.columns, part.column : part.column + part.depth].t()


def _view(place: Place, width: int, buffers: Buffers, numbers: dict[str, int]) -> Tensor:
    """[rows of the step, width]."""
    begin = numbers["offset"]
    if place.buffer.kind in (Kind.SCRATCH, Kind.D_STATE, Kind.D_NEXT):
        begin = 0
    elif place.buffer.kind in (Kind.BEFORE, Kind.AFTER):
        begin = numbers[first_row(place.buffer)]
    return buffers[place.buffer][begin : begin + numbers["rows"], place.offset : place.offset + width]


class Generated:
    """The functions of one kind of cell, and their order in a step.

    Attributes:
        program: the plan that they follow.
        names: of the weights, in the order in which `apply` takes them.
        walks: how to call the function for all steps ("keep", "bare" or "back"), if there is one.
        parts: otherwise the products and phases of a step of that kind.

    Raises:
        CannotFuse, CannotCompile: there are none; says why.
    """

    def __init__(self, cell: Cell, masked: bool, reads: Reads) -> None:
        self.program: Program = program(trace(cell, projected_width(cell), masked=masked, reads=reads))
        matrices = [packed.param for packed in self.program.forward]
        self.names = list(dict.fromkeys([*matrices, *(name for name, _, _ in self.program.params)]))
        self.walks: dict[str, Launch] = {}
        self.parts: dict[str, list[Product | Launch]] = {}
        text = [HEAD]
        for kind in self.program.steps:
            text += self._walk(kind) if walks(self.program) else self._phases(kind)
        self.module = _module("\n".join(text) + "\n")

    def _walk(self, kind: str) -> list[str]:
        lines, self.walks[kind] = walk(self.program, kind)
        return lines

    def _phases(self, kind: str) -> list[str]:
        self.parts[kind] = []
        text = []
        for products, lines, launch in phases(self.program, kind):
            self.parts[kind] += [part for node in products for part in self._products(kind, node)]
            self.parts[kind] += [] if launch is None else [launch]
            text += lines
        return text

    def _products(self, kind: str, node: Node) -> Iterator[Product]:
        """One per contiguous piece of the operand."""
        steps = self.program.steps[kind]
        target = direct(steps).get(node) or steps.places[node]
        for number, (operand, packed) in enumerate(steps.calls[node]):
            yield Product(target, operand, steps.packed[packed], adds=number > 0)

    def matrices(self, kind: str, weights: Weights) -> list[Any]:
        """The weights of a kind's products, in the order of its parts; None for parts that are not products."""
        return [part.matrix(weights) if isinstance(part, Product) else None for part in self.parts[kind]]

    def step(self, kind: str, buffers: Buffers, numbers: dict[str, int], matrices: Sequence[Any]) -> None:
        """The products and phases of one step."""
        for part, matrix in zip(self.parts[kind], matrices, strict=True):
            if isinstance(part, Product):
                part.run(matrix, buffers, numbers)
            else:
                self.launch(part, numbers["rows"], buffers, numbers)

    def launch(self, launch: Launch, rows: int, buffers: Buffers, numbers: dict[str, int], **constants: Any) -> None:
        """Calls a function for that many rows."""
        given = [buffers.get(buffer) for buffer in launch.buffers]
        counts = [numbers[name] for name in launch.numbers]
        grid = (-(-rows // launch.rows), launch.across)
        function = getattr(self.module, launch.name)[grid]
        function(*given, *counts, num_warps=launch.warps, enable_fp_fusion=True, **constants)

    def blocks(self, batch: int) -> int:
        """Rows of d_param: the number of blocks of rows."""
        launches = [*self.parts.get("back", ()), *self.walks.values()]
        return -(-batch // min(launch.rows for launch in launches if isinstance(launch, Launch)))
