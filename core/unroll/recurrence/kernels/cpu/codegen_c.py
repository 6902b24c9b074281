"""From the phases of a step to C.

A row of the batch is one iteration of a loop; within it all pointwise operations of a phase are one loop over units, in
registers. Threads, buffers and products are those of native.h.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence

from unroll.recurrence.kernels.buffers import D_PARAM, KEPT, SCRATCH, Kind, Place
from unroll.recurrence.kernels.graph import SCALAR, WHOLE_ROW, Node, reachable
from unroll.recurrence.kernels.operations import OPERATIONS, Cost, c_functions, expression
from unroll.recurrence.kernels.plan import Program
from unroll.recurrence.kernels.schedule import Phase, Schedule


def source(program: Program, narrow: bool = False) -> str:
    """C that defines forward_keep, forward_bare and backward; with `narrow`, the input side is bfloat16."""
    lines = ["#define NARROW"] if narrow else []
    lines += [_HEAD + c_functions(), f"#define INPUTS {program.inputs}", f"#define OUTPUTS {program.outputs}"]
    lines += [f"#define SAVED {program.saved}", f"#define SCRATCH {program.scratch}"]
    lines += [f"#define STATE{k} {width}" for k, width in enumerate(program.states)]
    lines += [f"#define PRODUCT{k} {rows}" for k, rows in enumerate(program.products)]
    return "\n".join([*lines, *_forward(program, "keep"), *_forward(program, "bare"), *_backward(program)]) + "\n"


def _lines(steps: Schedule) -> Iterator[str]:
    again = _again(steps)
    for phase in steps.phases:
        if phase.products:
            yield "    SYNC"
            for node in phase.products:
                yield from _product(steps, node)
            yield "    SYNC"
        if phase.stores or phase.added or phase.sums:
            yield from _rows(steps, phase, again)


def _product(steps: Schedule, node: Node) -> Iterator[str]:
    """One call per contiguous piece of the operand."""
    for place, number in steps.calls[node]:
        packed, add = steps.packed[number], int(number != steps.calls[node][0][1])
        target = steps.places[node].offset
        multiply = "of_units" if place.buffer.at_input_side else "product"
        yield f"    for (long i = 0; i < R; i++) {{ ROW; from[i] = {_pointer(place)}; to[i] = s + {target}; }}"
        yield (
            f"    C->{multiply}(from, R, C->packed[{number}], {packed.depth}, {packed.columns}, to, {add}, "
            f"PANELS({packed.columns}), rounding);"
        )


MAX_LOADS, MAX_OPERATIONS = 2, 3
"""the most that may be recomputed"""


def _again(steps: Schedule) -> dict[Node, tuple[int, int]]:
    """(loads, operations) of values that a later phase of a backward step recomputes rather than reads: a layer norm
    would fill the cache with differences from a mean, whose inputs are in memory anyway.
    """
    result: dict[Node, tuple[int, int]] = {}
    if not steps.known:
        return result  # a forward step may overwrite what it has read
    whole = {arg for node in steps.levels if node.op in WHOLE_ROW for arg in node.args}
    for node in steps.levels:
        if _cheap(node) and node not in whole and not steps.leaf(node):
            costs = [_cost(steps, arg, result) for arg in set(node.args)]
            loads, operations = sum(loads for loads, _ in costs), 1 + sum(operations for _, operations in costs)
            if loads <= MAX_LOADS and operations <= MAX_OPERATIONS:
                result[node] = loads, operations
    return result


def _cheap(node: Node) -> bool:
    return node.op in OPERATIONS and OPERATIONS[node.op].cost is Cost.CHEAP


def _cost(steps: Schedule, node: Node, again: Mapping[Node, tuple[int, int]]) -> tuple[int, int]:
    """(loads, operations) of a value in a later phase; too many if it is no longer available."""
    lasting = node.op in ("u", "state", "param", "const")
    if node in steps.known:
        place = steps.known[node]
        lasting = place.buffer.kind in (Kind.SAVED, Kind.AFTER)
    if lasting:
        return int(node.width > 0), 0
    return again.get(node, (MAX_LOADS + 1, 0))


def _rows(steps: Schedule, phase: Phase, again: Mapping[Node, tuple[int, int]]) -> Iterator[str]:
    """The loop over rows: sums, scalars, then the units of each width."""
    text = _Text(steps, phase.level, again)
    yield "    for (long i = MINE; i < R; i += EACH) { ROW;"
    for node in phase.sums:
        yield from text.sum(node)
    stored = [node for node, _ in (*phase.stores, *phase.added) if node.op != "const"]
    for node in reachable(stored, [n for n in steps.levels if steps.loaded(n, phase.level)]):
        if node.width == SCALAR and not steps.loaded(node, phase.level) and node.op != "sum":
            yield from text.scalar(node)
    for node, place in phase.stores:
        if node.width == SCALAR:
            yield f"      {_pointer(place)}[0] = {text.name(node)}[0];"
    targets = [
        (node, place, False)
        for node, place in phase.stores
        if node.width != SCALAR and not (place.buffer == SCRATCH and node in again)
    ]
    targets += [(node, Place(D_PARAM, offset), True) for node, offset in phase.added]
    for width in sorted({steps.width_of(node, place) for node, place, _ in targets}):
        here = [target for target in targets if steps.width_of(target[0], target[1]) == width]
        yield from text.vector(width, here)
    yield "    }"


class _Text:
    """C expressions of nodes; nodes that already have a name are not written twice."""

    def __init__(self, steps: Schedule, level: int, again: Container[Node]) -> None:
        self.steps, self.level, self.again = steps, level, again
        self.names: dict[Node, str] = {}

    def name(self, node: Node) -> str:
        if node.op == "const":
            return _number(float(node.data))
        return self.names[node]

    def sum(self, node: Node) -> Iterator[str]:
        variable = f"x{node.index}"
        yield f"      vec {variable} = {{0}};"
        for arg in node.args:
            place = self.steps.places[arg]
            kind, load = ("unit", f"load{_kind(arg, place)}") if place.buffer.at_input_side else ("float", "load")
            yield f"      {{ const {kind} *p = {_pointer(place)}; long j = 0;"
            yield f"        for (; j + V <= {arg.width}; j += V) {variable} += {load}(p + j);"
            yield f"        if (j < {arg.width}) {variable} += {load}_part(p + j, {arg.width} - j); }}"
        yield f"      {variable} = splat(hsum({variable}));"
        self.names[node] = variable

    def scalar(self, node: Node) -> Iterator[str]:
        """A value per row, broadcast to all lanes, so that it can be used like any other."""
        variable = f"x{node.index}"
        args = []
        for arg in node.args:
            if arg.width == SCALAR and arg not in self.names:
                args.append(f"splat({_pointer(self.steps.places[arg])}[0])")
            else:
                args.append(self.name(arg))
        yield f"      vec {variable} = {expression(node.op, args)};"
        self.names[node] = variable

    def vector(self, width: int, targets: Sequence[tuple[Node, Place, bool]]) -> Iterator[str]:
        whole, rest = self._body(targets), self._body(targets, part=True)
        yield f"      {{ long j = 0; for (; j + V <= {width}; j += V) {{"
        yield from (f"        {line}" for line in whole)
        yield "      }"
        if width % 16:
            yield f"      const long left = {width} - j; if (left) {{"
            yield from (f"        {line}" for line in rest)
            yield "      }"
        yield "      }"

    def _body(self, targets: Sequence[tuple[Node, Place, bool]], part: bool = False) -> list[str]:
        suffix, count = ("_part", ", left") if part else ("", "")
        names = dict(self.names)
        lines: list[str] = []

        def value(node: Node) -> str:
            if node.op == "const":
                return _number(float(node.data))
            if node not in names:
                names[node] = f"x{node.index}"
                lines.append(f"vec {names[node]} = {define(node)};")
            return names[node]

        def define(node: Node) -> str:
            if self.steps.loaded(node, self.level) and node not in self.again:
                place = self.steps.places[node]
                at = _pointer(place)
                return (
                    f"splat({at}[0])" if node.width == SCALAR else f"load{_kind(node, place)}{suffix}({at} + j{count})"
                )
            return expression(node.op, [value(arg) for arg in node.args])

        values = [value(node) for node, _, _ in targets]
        for (node, place, added), name in zip(targets, values, strict=True):
            at = f"{_pointer(place)} + j"
            old = f"load{suffix}({at}{count}) + " if added else ""
            lines.append(f"store{_kind(node, place)}{suffix}({at}, {old}{name}{count});")
        return lines


def _number(value: float) -> str:
    if not math.isfinite(value):
        return f"splat({'-' if value < 0 else ''}INFINITY)" if not math.isnan(value) else "splat(NAN)"
    return f"splat({value!r}f)"


def _kind(node: Node, place: Place) -> str:
    """The suffix of the load and store functions."""
    if not place.buffer.at_input_side:
        return ""
    return "_gate" if place.buffer == KEPT and node.op == "sigmoid" else "_unit"


def _pointer(place: Place) -> str:
    text = _POINTERS[place.buffer.kind].replace("#", str(place.buffer.number))
    return f"({text} + {place.offset})"


_POINTERS = {
    Kind.SCRATCH: "s", Kind.U: "(C->u + n * INPUTS)", Kind.D_U: "(C->d_u + n * INPUTS)",
    Kind.KEPT: "(C->kept + n * INPUTS)", Kind.OUT: "(C->out + n * OUTPUTS)", Kind.D_OUT: "(C->d_out + n * OUTPUTS)",
    Kind.SAVED: "(C->saved + n * SAVED)", Kind.MASK: "(C->mask + r * STATE0)", Kind.D_PARAM: "d_param",
    Kind.PARAM: "C->param[#]", Kind.BEFORE: "before#[i]", Kind.AFTER: "(C->state[#] + AT# * STATE#)",
    Kind.D_STATE: "(C->d_state[#] + r * STATE#)", Kind.D_PRODUCT: "(C->d_product[#] + n * PRODUCT#)",
}  # fmt: skip
"""the address of a buffer's row in C; #: the number of the buffer"""


_HEAD = """\
#include "native.h"
#include <omp.h>

#define SYNC if (C->shared) { _Pragma("omp barrier") }
#define MINE (C->shared ? id : 0)
#define EACH (C->shared ? team : 1)
#define ROW const long r = C->shared ? i : id + i * team, n = offset + r; (void)n; \\
  float *s = scratch + i * SCRATCH; (void)s
#define ALL(columns) (((columns) + PANEL - 1) / PANEL)
#define PANELS(columns) \\
  (C->shared ? id * ALL(columns) / team : 0), (C->shared ? (id + 1) * ALL(columns) / team : ALL(columns))
"""

_THREAD = """\
#pragma omp parallel num_threads(C->threads)
  {
  /* The system may grant fewer threads than asked for. Rows that are split are split among as many as were asked for,
   * as scratch is, and a thread takes several shares; what is shared is shared by those that came. */
  const long came = omp_get_num_threads(), team = C->shared ? came : C->threads;
  for (long id = omp_get_thread_num(); id < team; id += came) {
  float *scratch = C->scratch + (C->shared ? 0 : id * C->scratch_size);
  void *rounding = C->scratch + (C->shared ? 1 + id : team + id) * C->scratch_size;
  const long most = C->shared ? C->batch : (C->batch - id + team - 1) / team;
  const void *from[most > 0 ? most : 1]; float *to[most > 0 ? most : 1]; (void)from; (void)to; (void)rounding;"""


def _forward(program: Program, kind: str) -> Iterator[str]:
    """forward_keep stores every state, forward_bare only the last two (the output is always stored)."""
    states = range(len(program.states))
    rings = [k for k in states if kind == "bare" and not (k == 0 and program.aliased)]
    for k in states:
        yield f"#undef AT{k}\n#define AT{k} {'((t & 1) * C->batch + r)' if k in rings else 'n'}"
    yield f"void forward_{kind}(const Call *C) {{\n{_THREAD}"
    yield "  for (long t = 0; t < C->steps; t++) {"
    yield from _opening(program, rings)
    yield from _lines(program.steps[kind])
    yield "  }\n  }\n  }\n}"


def _backward(program: Program) -> Iterator[str]:
    states = range(len(program.states))
    yield from (f"#undef AT{k}\n#define AT{k} n" for k in states)
    yield f"void backward(const Call *C) {{\n{_THREAD}"
    yield f"  float *d_param = C->d_param + id * {sum(width for _, _, width in program.d_params)}; (void)d_param;"
    yield "  for (long t = C->steps - 1; t >= 0; t--) {"
    yield from _opening(program, [])
    yield from _lines(program.steps["back"])
    yield "    if (C->reset) for (long i = MINE; i < R; i += EACH) { ROW; if (!C->reset[n]) continue;"
    for k in states:
        yield (
            f"      for (long j = 0; j < STATE{k}; j++) {{ float *d = C->d_state[{k}] + r * STATE{k} + j; "
            f"C->d_fresh[{k}][r * STATE{k} + j] += *d; *d = 0; }}"
        )
    yield "    }\n  }\n  }\n  }\n}"


def _opening(program: Program, rings: Sequence[int]) -> Iterator[str]:
    """The rows of this step, and the address of the state before it: the previous, the initial or the fresh one."""
    yield "    const long offset = C->offset[t];"
    yield "    const long R = C->shared ? C->count[t] : (C->count[t] - id + team - 1) / team;"
    yield "    if (R <= 0) continue;"
    for k in range(len(program.states)):
        yield f"    const float *before{k}[R]; (void)before{k};"
    yield "    for (long i = 0; i < R; i++) { ROW; const int anew = C->reset && C->reset[n];"
    for k in range(len(program.states)):
        last = "((t - 1) & 1) * C->batch + r" if k in rings else "C->offset[t - 1] + r"
        yield (
            f"      before{k}[i] = anew ? C->fresh[{k}] + r * STATE{k} : t > 0 ? "
            f"C->state[{k}] + ({last}) * STATE{k} : C->initial[{k}] + r * STATE{k};"
        )
    yield "    }"
