"""One Triton function for the whole sequence, if units do not depend on each other: minGRU, minLSTM, RG-LRU, IndRNN.

A program takes a block of rows and units through all steps with the state in registers: everything is read and written
once, the minimum of memory traffic. The loads of later steps do not depend on the state, so Triton can prefetch them
while a step is computed (num_stages).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from unroll.recurrence.kernels.buffers import COUNTS, D_PARAM, OFFSETS, RESET, Buffer, Kind
from unroll.recurrence.kernels.graph import Node
from unroll.recurrence.kernels.plan import Program
from unroll.recurrence.kernels.triton.codegen_triton import Launch, Values, power

LANES = 32
"""units of a block, in one row: this gives the most programs, of one warp each"""
STAGES = 4
"""steps whose loads are in flight at the same time"""


def walk(program: Program, kind: str) -> tuple[list[str], Launch]:
    """The function that does all steps of a kind ("keep", "bare" or "back"), and how to call it."""
    text = _Backward(program) if kind == "back" else _Forward(program, kind)
    return text.lines, text.launch


class Segment(NamedTuple):
    """Part of a state that a variable holds.

    Attributes:
        state: the number of the state.
        offset: of its first unit.
    """

    state: int
    offset: int


class _Walk(Values):
    """The common part of both directions. Invariants are loaded before the loop, states are kept in variables."""

    def __init__(self, program: Program, kind: str) -> None:
        steps = program.steps[kind]
        super().__init__(program, steps, 0)
        self.width = next(node.width for node in steps.levels if node.width > 0)
        self.segments = [
            Segment(k, offset) for k, width in enumerate(program.states) for offset in range(0, width, self.width)
        ]
        self.before: list[str] = []
        self.lines = list(self._function(f"walk_{kind}"))
        arguments = (COUNTS, OFFSETS, RESET, *self.buffers)
        self.launch = Launch(f"walk_{kind}", arguments, ("steps", "batch"), 1, -(-self.width // self.units), 1)

    @property
    def units(self) -> int:
        """Units of a block."""
        return min(LANES, power(self.width))

    def define(self, node: Node) -> str:
        """Leaves that outlive a step are variables; everything else is as in `Values`."""
        if node.op in ("state", "d_state"):
            return self.variable("before" if node.op == "state" else "d", Segment(*node.data))
        if node.op in ("param", "mask"):
            text = self.load(self.steps.places[node], node.width)
            self.before.append(f"l{node.index} = {text.replace(f'here{self.width}', 'inside')}")
            return f"l{node.index}"
        return super().define(node)

    def row(self, buffer: Buffer) -> str:
        """r for buffers with one row per row of the batch; n for buffers of all steps."""
        batch = (Kind.MASK, Kind.INITIAL, Kind.FRESH, Kind.FINAL, Kind.D_STATE, Kind.D_FRESH)
        return "r" if buffer.kind in batch else "n"

    def batch(self, kind: Kind, segment: Segment) -> str:
        """The address of a state's segment in a buffer with one row per row of the batch."""
        buffer = Buffer(kind, segment.state)
        self.buffers[buffer] = None
        return f"{buffer.name} + r * {self.program.width(buffer)} + {segment.offset} + j{self.width}"

    def variable(self, stem: str, segment: Segment) -> str:
        """The variable of a segment of a state."""
        return f"{stem}_{segment.state}_{segment.offset}"

    def _load(self, stem: str, kind: Kind) -> Iterator[str]:
        """Variables from a buffer with one row per row of the batch, for all states."""
        for segment in self.segments:
            yield self._loaded(stem, kind, segment)

    def _loaded(self, stem: str, kind: Kind, segment: Segment) -> str:
        return f"{self.variable(stem, segment)} = tl.load({self.batch(kind, segment)}, mask=inside, other=0.0)"

    def _store(self, stem: str, kind: Kind) -> Iterator[str]:
        for segment in self.segments:
            yield f"tl.store({self.batch(kind, segment)}, {self.variable(stem, segment)}, mask=inside)"

    def _function(self, name: str) -> Iterator[str]:
        step, opening, closing = list(self._step()), list(self._opening()), list(self._closing())
        names = [buffer.name for buffer in (COUNTS, OFFSETS, RESET, *self.buffers)]
        arguments = ", ".join([*names, "steps", "batch", "RESET: tl.constexpr"])
        yield f'\n\n@triton.jit(do_not_specialize=["steps", "batch"])\ndef {name}({arguments}):'
        yield "    r = (tl.program_id(0) + tl.arange(0, 1)[:, None]).to(tl.int64)"
        yield f"    j{self.width} = tl.program_id(1) * {self.units} + tl.arange(0, {self.units})[None, :]"
        yield f"    inside = (r < batch) & (j{self.width} < {self.width})"
        yield from (f"    {line}" for line in [*opening, *self.before])
        yield f"    for i in tl.range(0, steps, num_stages={STAGES}):"
        yield from (f"        {line}" for line in step)
        yield from (f"    {line}" for line in closing)

    def _rows(self, time: str) -> Iterator[str]:
        yield f"t = {time}"
        yield "alive = r < tl.load(counts + t)"
        yield f"here{self.width} = inside & alive"
        yield "n = tl.load(offsets + t) + r"
        yield "if RESET:"
        yield "    anew = tl.load(reset + n, mask=alive, other=0) != 0"

    def _step(self) -> Iterator[str]:
        raise NotImplementedError

    def _opening(self) -> Iterator[str]:
        raise NotImplementedError

    def _closing(self) -> Iterator[str]:
        raise NotImplementedError


class _Forward(_Walk):
    """Rows past their end keep their state, which is returned."""

    def __init__(self, program: Program, kind: str) -> None:
        self.kept = kind == "keep"
        super().__init__(program, kind)

    def _opening(self) -> Iterator[str]:
        yield from self._load("state", Kind.INITIAL)
        yield "if RESET:"
        yield from (f"    {line}" for line in self._load("fresh", Kind.FRESH))

    def _closing(self) -> Iterator[str]:
        yield from self._store("state", Kind.FINAL)

    def _step(self) -> Iterator[str]:
        roots = [(place, self.value(node)) for node, place in self.steps.roots]
        for place, value in roots:
            is_output = self.program.aliased and place.buffer == Buffer(Kind.AFTER, 0)
            if self.kept or place.buffer.kind is not Kind.AFTER or is_output:
                self.body.append(self.store(place, self.width, value))
        for place, value in roots:
            if place.buffer.kind is Kind.AFTER:
                state = self.variable("state", Segment(place.buffer.state, place.offset))
                self.body.append(f"{state} = tl.where(here{self.width}, {value}, {state})")
        yield from self._rows("i")
        for segment in self.segments:
            before, state = self.variable("before", segment), self.variable("state", segment)
            yield f"{before} = {state}"
            yield f"if RESET:\n            {before} = tl.where(anew, {self.variable('fresh', segment)}, {state})"
        yield from self.body


class _Backward(_Walk):
    """From the last step to the first; the gradients by vectors are summed over the steps in registers."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, "back")

    def _opening(self) -> Iterator[str]:
        yield from self._load("d", Kind.D_STATE)
        for segment in self._read():
            yield self._loaded("initial", Kind.INITIAL, segment)
        for _, offset in self.steps.accumulated:
            yield f"sum_{offset} = tl.zeros([1, {self.units}], tl.float32)"
        yield "if RESET:"
        for segment in self.segments:
            yield f"    {self.variable('d_fresh', segment)} = tl.zeros([1, {self.units}], tl.float32)"
        for segment in self._read():
            yield f"    {self._loaded('fresh', Kind.FRESH, segment)}"

    def _closing(self) -> Iterator[str]:
        yield from self._store("d", Kind.D_STATE)
        yield "if RESET:"
        yield from (f"    {line}" for line in self._store("d_fresh", Kind.D_FRESH))
        for _, offset in self.steps.accumulated:
            self.buffers[D_PARAM] = None
            at = f"d_param + r * {self.program.width(D_PARAM)} + {offset} + j{self.width}"
            yield f"tl.store({at}, sum_{offset}, mask=inside)"

    def _read(self) -> list[Segment]:
        """The segments of the states before a step that its derivative reads."""
        data = {node.data for node in self.names if node.op == "state"}
        return [segment for segment in self.segments if segment in data]

    def _step(self) -> Iterator[str]:
        roots = [(place, self.value(node)) for node, place in self.steps.roots]
        added = [(self.value(node), offset) for node, offset in self.steps.accumulated]
        here = f"here{self.width}"
        for place, value in roots:
            if place.buffer.kind is Kind.D_STATE:
                name = self.variable("d", Segment(place.buffer.state, place.offset))
                self.body.append(f"{name} = tl.where({here}, {value}, {name})")
            else:
                self.body.append(self.store(place, self.width, value))
        self.body += [f"sum_{offset} += tl.where({here}, {value}, 0.0)" for value, offset in added]
        yield from self._rows("steps - 1 - i")
        if self._read():
            yield "m = tl.load(offsets + tl.maximum(t - 1, 0)) + r"
        for segment in self._read():
            yield from self._before(segment)
        yield from self.body
        yield "if RESET:"
        for segment in self.segments:
            gradient, fresh = self.variable("d", segment), self.variable("d_fresh", segment)
            yield f"    {fresh} += tl.where(anew, {gradient}, 0.0)"
            yield f"    {gradient} = tl.where(anew, 0.0, {gradient})"

    def _before(self, segment: Segment) -> Iterator[str]:
        """The state before step t: the one after step t - 1, the initial or the fresh one."""
        name, buffer = self.variable("before", segment), Buffer(Kind.AFTER, segment.state)
        self.buffers[buffer] = None
        at = f"{buffer.name} + m * {self.program.width(buffer)} + {segment.offset} + j{self.width}"
        yield f"{name} = tl.load({at}, mask=here{self.width}, other=0.0)"
        yield f"{name} = tl.where(t > 0, {name}, {self.variable('initial', segment)})"
        yield f"if RESET:\n            {name} = tl.where(anew, {self.variable('fresh', segment)}, {name})"
