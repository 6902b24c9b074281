"""From the plan of a step to Triton: one function between any two products, which are left to cuBLAS.

The plan is that of the C kernels (plan.py): the same phases, saved values and places. Pointwise operations are
generated as a program over a block of rows and units. If sums are needed the block has the whole row, so that phases
separated only by sums are merged. The gradients by the states go to a second buffer, and the two are swapped after the
step: no phase has to wait until others have read them, and a product can write there directly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from unroll.recurrence.kernels.buffers import D_PARAM, SCRATCH, Buffer, Kind, Place
from unroll.recurrence.kernels.graph import SCALAR, WHOLE_ROW, Node
from unroll.recurrence.kernels.operations import expression, triton_functions
from unroll.recurrence.kernels.plan import Program
from unroll.recurrence.kernels.schedule import Phase, Schedule

BLOCK = 512
"""values of one segment per program of a phase"""
WIDE = 128
"""units of a block if the units of a row may be split"""


@dataclass(frozen=True)
class Launch:
    """How a generated function is called.

    Attributes:
        name: of the function.
        buffers: its first arguments.
        numbers: the arguments after them, whole numbers of a step.
        rows: rows per program.
        across: programs along the units.
        warps: of 32 threads each, per program.
    """

    name: str
    buffers: tuple[Buffer, ...]
    numbers: tuple[str, ...]
    rows: int
    across: int
    warps: int


def walks(program: Program) -> bool:
    """Whether units are independent, so that one function can take a block of them through all steps."""
    nodes = [node for steps in program.steps.values() for node in steps.levels]
    widths = {node.width for node in nodes if node.width > 0}
    return len(widths) == 1 and not any(node.op in WHOLE_ROW for node in nodes)


def phases(program: Program, kind: str) -> list[tuple[tuple[Node, ...], list[str], Launch | None]]:
    """A step in parts: products, and the function that follows them with its launch, or none."""
    steps = program.steps[kind]
    parts = []
    for group in _groups(steps):
        text = _PhaseText(program, steps, group, f"{kind}_{group.level}") if group.stores or group.added else None
        parts.append((group.products, text.lines if text else [], text.launch() if text else None))
    return parts


def _groups(steps: Schedule) -> Iterator[Phase]:
    """The phases; one without a product is merged with the previous: a program has the whole row that a sum needs."""
    groups: list[list[Phase]] = []
    for phase in steps.phases:
        if phase.products or not groups:
            groups.append([])
        groups[-1].append(phase)
    group_of = {phase.level: number for number, group in enumerate(groups) for phase in group}
    computed = [node for node in steps.levels if node not in steps.known]
    read = [(group_of[steps.levels[node]], arg) for node in computed for arg in node.args]
    for number, group in enumerate(groups):
        later = {arg for reader, arg in read if reader > number}
        stores = [store for phase in group for store in phase.stores if store[1].buffer != SCRATCH or store[0] in later]
        gradients = [(n, place) for n, place in _gradients(steps) if group_of[steps.levels[n]] == number]
        stores = [*(store for store in stores if store[1].buffer.kind is not Kind.D_STATE), *gradients]
        sums, added = (tuple(one for phase in group for one in getattr(phase, name)) for name in ("sums", "added"))
        yield Phase(group[0].level, group[0].products, sums, tuple(stores), added)


def _gradients(steps: Schedule) -> list[tuple[Node, Place]]:
    """The gradients by the states that are not written by a product itself, and their targets."""
    written = direct(steps)
    gradients = [(node, place) for node, place in steps.roots if place.buffer.kind is Kind.D_STATE]
    return [(n, _next(place)) for n, place in gradients if not (n.op == "part" and n.args[0] in written)]


def _next(place: Place) -> Place:
    return Place(Buffer(Kind.D_NEXT, place.buffer.number), place.offset)


def direct(steps: Schedule) -> dict[Node, Place]:
    """The products that are exactly the gradient by a state, and where that begins."""
    read = {arg for node in steps.levels if node not in steps.known for arg in node.args}
    read.update(node for node, _ in steps.accumulated)
    found: dict[Node, Place] = {}
    for product in (node for node in steps.levels if node.op == "tdot"):
        parts = [node for node in steps.levels if node.op == "part" and node.args[0] is product]
        places = [(node, place) for node, place in steps.roots if node in parts]
        begins = {(place.buffer, place.offset - node.data) for node, place in places}
        whole = len(places) == len(parts) and sum(node.width for node in parts) == product.width
        if not whole or len(begins) != 1 or read.intersection(parts):
            continue
        [(buffer, offset)] = begins
        if buffer.kind is Kind.D_STATE:
            found[product] = _next(Place(buffer, offset))
    return found


HEAD = f"""\
# Made by core/unroll/recurrence/kernels/triton/codegen_triton.py.
import triton
import triton.language as tl

from unroll.recurrence.kernels.triton.functions import v_log1p, v_tanh
{triton_functions()}"""


class Values:
    """Expressions of nodes, each written once; subclasses define what is loaded and where."""

    def __init__(self, program: Program, steps: Schedule, level: int) -> None:
        self.program, self.steps, self.level = program, steps, level
        self.names: dict[Node, str] = {}
        self.buffers: dict[Buffer, None] = {}
        self.numbers: dict[str, None] = {}
        self.body: list[str] = []

    def value(self, node: Node) -> str:
        """The variable that holds the node, [rows, units], [rows, 1] or [1, units], or the number that it is."""
        if node.op == "const":
            return number(float(node.data))
        if node not in self.names:
            text = self.define(node)
            self.names[node] = f"x{node.index}"
            self.body.append(f"x{node.index} = {text}")
        return self.names[node]

    def define(self, node: Node) -> str:
        """The node as loaded, or computed from its arguments."""
        if self.steps.loaded(node, self.level):
            return self.load(self.steps.places[node], node.width)
        if node.op != "sum":
            return expression(node.op, [self.value(arg) for arg in node.args])
        widths = sorted({arg.width for arg in node.args})
        groups = [" + ".join(self.value(arg) for arg in node.args if arg.width == width) for width in widths]
        inside = (f"tl.where(here{width}, {group}, 0.0)" for width, group in zip(widths, groups, strict=True))
        return " + ".join(f"tl.sum({values}, axis=1, keep_dims=True)" for values in inside)

    def load(self, place: Place, width: int) -> str:
        """A block of a buffer, zero outside of it."""
        return f"tl.load({self.pointer(place, width)}, mask={self.inside(place, width)}, other=0.0)"

    def store(self, place: Place, width: int, value: str) -> str:
        """The line that writes a block."""
        return f"tl.store({self.pointer(place, width)}, {value}, mask={self.inside(place, width)})"

    def inside(self, place: Place, width: int) -> str:
        """Which elements of a block exist."""
        if place.buffer.kind is Kind.PARAM:
            return f"j{width} < {width}"
        return "alive" if width == SCALAR else f"here{width}"

    def pointer(self, place: Place, width: int) -> str:
        """The address of a block's elements."""
        self.buffers[place.buffer] = None
        units = f"{place.offset}" if width == SCALAR else f"{place.offset} + j{width}"
        if place.buffer.kind is Kind.PARAM:
            return f"{place.buffer.name} + {units}"
        return f"{place.buffer.name} + {self.row(place.buffer)} * {self.program.width(place.buffer)} + {units}"

    def row(self, buffer: Buffer) -> str:
        """The row of a buffer that belongs to row r of the step."""
        if buffer.kind in (Kind.SCRATCH, Kind.MASK, Kind.D_STATE, Kind.D_NEXT):
            return "r"
        if buffer.kind in (Kind.BEFORE, Kind.AFTER):
            self.numbers[first_row(buffer)] = None
            return f"({first_row(buffer)} + r).to(tl.int64)"
        return "n"


class _PhaseText(Values):
    """One phase: sums over rows, then everything pointwise, for a block of rows."""

    def __init__(self, program: Program, steps: Schedule, phase: Phase, name: str) -> None:
        super().__init__(program, steps, phase.level)
        self.phase, self.name = phase, name
        self.targets = [(node, place, self._width(node, place)) for node, place in phase.stores]
        values = [self.value(node) for node, _, _ in self.targets]
        gradients = [(self.value(node), offset, node.width) for node, offset in phase.added]
        stores = [self.store(place, width, text) for (_, place, width), text in zip(self.targets, values, strict=True)]
        self.body += [*stores, *(line for one in gradients for line in self._add(*one))]
        widths = {node.width for node in self.names} | {width for _, _, width in self.targets}
        self.widths = sorted(width for width in widths if width > 0)
        self.parted = len(self.widths) == 1 and all(node.width > 0 for node in self.names)
        self.units = [min(WIDE, power(width)) if self.parted else power(width) for width in self.widths]
        self.rows = max(1, min(16, BLOCK // max(self.units)))
        self.lines = list(self._lines())

    def _width(self, node: Node, place: Place) -> int:
        return SCALAR if node.width == SCALAR else self.steps.width_of(node, place)

    def _add(self, value: str, offset: int, width: int) -> Iterator[str]:
        """Each block of rows has its own row of d_param, so that no two programs write to the same place."""
        self.buffers[D_PARAM] = None
        yield f"at = d_param + tl.program_id(0) * {self.program.width(D_PARAM)} + {offset} + j{width}"
        yield f"total = tl.sum(tl.where(here{width}, {value}, 0.0), axis=0, keep_dims=True)"
        yield f"tl.store(at, tl.load(at, mask=j{width} < {width}, other=0.0) + total, mask=j{width} < {width})"

    def _lines(self) -> Iterator[str]:
        arguments = ", ".join([*(buffer.name for buffer in self.buffers), "rows", "offset", *self.numbers])
        free = ", ".join(f'"{name}"' for name in ("rows", "offset", *self.numbers))
        yield f"\n\n@triton.jit(do_not_specialize=[{free}])\ndef {self.name}({arguments}):"
        yield f"    r = tl.program_id(0) * {self.rows} + tl.arange(0, {self.rows})[:, None]"
        yield "    n = (offset + r).to(tl.int64)"
        yield "    alive = r < rows"
        for width, units in zip(self.widths, self.units, strict=True):
            begin = f"tl.program_id(1) * {units} + " if self.parted else ""
            yield f"    j{width} = {begin}tl.arange(0, {units})[None, :]"
            yield f"    here{width} = alive & (j{width} < {width})"
        yield from (f"    {line}" for line in self.body)

    def launch(self) -> Launch:
        """How to call it."""
        across = -(-self.widths[0] // self.units[0]) if self.parted else 1
        numbers = ("rows", "offset", *self.numbers)
        warps = max(1, min(8, self.rows * max(self.units) // 128))
        return Launch(self.name, tuple(self.buffers), numbers, self.rows, across, warps)


def first_row(buffer: Buffer) -> str:
    """The name of the number that gives the step's first row in a buffer of states."""
    return f"{buffer.kind.value}_row{buffer.number}"


def power(width: int) -> int:
    """The next power of two, which block sizes must be."""
    return 1 << (width - 1).bit_length()


def number(value: float) -> str:
    """A constant in Triton."""
    return f"({value!r})" if math.isfinite(value) else f'float("{value}")'
