"""From the graph of a step to C: which products come when, what is kept for the backward step, and the pointwise loops.

A step is a few phases. A phase begins with what needs whole rows (products, sums) of values made before it, and then
walks the units once, everything that is pointwise in registers. An LSTM's forward step is one phase, a GRU with its
reset gate before the product two, a layer norm adds two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.recurrence.kernels.graph import DEAR, LEAVES, SCALAR, WHOLE_ROW, Derivatives, Node, differentiate, reachable
from core.recurrence.kernels.trace import CannotFuse, Traced


@dataclass(frozen=True)
class Place:
    """Where a segment stands: a buffer, of which each row has its part, and the offset in it."""

    buffer: str
    offset: int


@dataclass(frozen=True)
class Packed:
    """A part of a weight matrix in the order in which a product reads it; `transposed` for the backward step.

    Forward: columns column..+depth of rows row..+columns. Backward: rows row..+depth, columns 0..columns.
    """

    param: str
    row: int
    column: int
    depth: int
    columns: int
    transposed: bool


@dataclass(frozen=True)
class WeightGradient:
    """dW[row..+rows, column..+columns] = sum over all rows and steps of gradient x operand.

    `gradient` and `operand` are places with rows per step; the operand "before k" is the state before the step.
    """

    param: str
    row: int
    rows: int
    column: int
    columns: int
    gradient: Place
    operand: Place


@dataclass
class Program:
    """The C text of one cell's steps, and what Python must hand to it.

    Attributes:
        source: C, defining forward_keep, forward_bare and backward.
        forward, backward: packed weights, in the order of `Call.packed`.
        params: (name, offset, width) of the vectors, in the order of `Call.param`.
        d_params: (name, offset, width) of the vectors' gradients, one after another in `Call.d_param`.
        saved: S, floats per row and step that are kept for the backward step.
        over_u: whether further P floats are, which may stand where u stood.
        over_kept: whether the gradient by u may in turn be written over those.
        products: rows of each buffer `Call.d_product`.
        weights: the weight gradients.
        scratch: floats per row, in the forward and the backward step.
        depth: the longest operand of a product.
        aliased: whether the output is the hidden state.
        needs_u: whether the backward step reads u.
        inputs, outputs, states: P, O and the widths of the states.
        steps: the phases of "keep", "bare" and "back", for who prints them in another language than C.
    """

    source: str
    forward: list[Packed]
    backward: list[Packed]
    params: list[tuple[str, int, int]]
    d_params: list[tuple[str, int, int]]
    saved: int
    over_u: bool
    over_kept: bool
    products: list[int]
    weights: list[WeightGradient]
    scratch: int
    depth: int
    aliased: bool
    needs_u: bool
    inputs: int
    outputs: int
    states: tuple[int, ...]
    steps: dict[str, Steps]


def program(traced: Traced) -> Program:
    """Everything that is needed to run and to differentiate a traced step."""
    return _Writer(traced).program()


class _Writer:
    def __init__(self, traced: Traced) -> None:
        self.traced, self.graph = traced, traced.graph
        self.output_width = sum(node.width for node in traced.output)
        self.aliased = traced.output == traced.states[0]
        self.params: dict[Node, int] = {}

    def program(self) -> Program:
        backward, roots = self._derivatives()
        kept = self._kept([*(node for node, _ in roots), *backward.params.values()])
        forward = Steps(self, self._forward_roots(kept), {})
        bare = Steps(self, self._forward_roots({}), {})
        weights, products = self._weights(backward, roots, kept)
        known = {**self._after(), **kept}
        back = Steps(self, roots, known, accumulated=self._accumulated(backward))
        texts = [list(steps.lines()) for steps in (forward, bare, back)]
        # A row's scratch must not be a multiple of 4 KiB, or the rows of a product fight for the same cache lines.
        scratch = max(steps.size for steps in (forward, bare, back)) + 16
        saved = sum(max(node.width, 1) for node, place in kept.items() if place.buffer == "saved")
        d_params = [(node.data[0], node.data[1], node.width) for node in backward.params]
        source = [
            _HEAD,
            *self._sizes(scratch, saved, products),
            *_forward(self, "keep", texts[0]),
            *_forward(self, "bare", texts[1]),
            *_backward(self, texts[2], sum(width for _, _, width in d_params)),
        ]
        read = self._read([*(node for node, _ in roots), *backward.params.values()], list(kept))
        return Program(
            source="\n".join(source) + "\n",
            forward=forward.packed,
            backward=back.packed,
            params=[(node.data[0], node.data[1], node.width) for node in self.params],
            d_params=d_params,
            saved=saved,
            over_kept=_undisturbed(back, kept),
            over_u=any(place.buffer == "kept" for place in kept.values()),
            products=products,
            weights=weights,
            scratch=scratch,
            depth=max([packed.depth for packed in (*forward.packed, *back.packed)], default=0),
            aliased=self.aliased,
            needs_u=any(node.op == "u" for node in read),
            inputs=self.traced.inputs,
            outputs=self.output_width,
            states=self.traced.widths,
            steps={"keep": forward, "bare": bare, "back": back},
        )

    def _sizes(self, scratch: int, saved: int, products: Sequence[int]) -> Iterator[str]:
        yield f"#define INPUTS {self.traced.inputs}\n#define OUTPUTS {self.output_width}"
        yield f"#define SAVED {saved}\n#define SCRATCH {scratch}"
        yield from (f"#define STATE{k} {width}" for k, width in enumerate(self.traced.widths))
        yield from (f"#define PRODUCT{k} {rows}" for k, rows in enumerate(products))

    def leaf_place(self, node: Node) -> Place:
        """Where a leaf stands before the step."""
        name, offset = node.data
        match node.op:
            case "u":
                return Place("u", offset)
            case "state":
                return Place(f"before{name}", offset)
            case "mask":
                return Place("mask", offset)
            case "d_output":
                return Place("d_out", offset)
            case "d_state":
                return Place(f"d_state{name}", offset)
        number = self.params.setdefault(node, len(self.params))
        return Place(f"param{number}", 0)

    def _after(self) -> dict[Node, Place]:
        """The new states (and the output) stand in their own arrays, also for the backward step."""
        places = dict(_along(self.traced.output, "out"))
        for k, segments in enumerate(self.traced.states):
            places.update(_along(segments, f"after{k}"))
        return {node: place for node, place in places.items() if node.op not in LEAVES}

    def _forward_roots(self, kept: Mapping[Node, Place]) -> list[tuple[Node, Place]]:
        roots = [] if self.aliased else list(_along(self.traced.output, "out"))
        for k, segments in enumerate(self.traced.states):
            roots += _along(segments, f"after{k}")
        return [*roots, *kept.items()]

    def _derivatives(self) -> tuple[Derivatives, list[tuple[Node, Place]]]:
        """The backward step: (node, where it goes) by u, by the states before, and by the products."""
        leaf = self.graph.leaf
        seeds = [
            (node, leaf("d_output", 0, place.offset, node.width)) for node, place in _along(self.traced.output, "")
        ]
        for k, segments in enumerate(self.traced.states):
            seeds += [(node, leaf("d_state", k, place.offset, node.width)) for node, place in _along(segments, "")]
        result = differentiate(self.graph, seeds)
        zero = self.graph.const(0)
        roots = []
        for op, widths in (("u", [self.traced.inputs]), ("state", self.traced.widths)):
            for k, width in enumerate(widths):
                size = self.traced.units if width % self.traced.units == 0 else width
                for offset in range(0, width, size):
                    gradient = result.leaves.get(leaf(op, k, offset, size), zero)
                    roots.append((gradient, Place("d_u" if op == "u" else f"d_state{k}", offset)))
        return result, roots

    def _kept(self, roots: Sequence[Node]) -> dict[Node, Place]:
        """What the backward step needs of the forward one and cannot cheaply compute again, in `saved`."""
        known = self._after()
        forward = reachable([node for segments in (self.traced.output, *self.traced.states) for node in segments])
        there = set(forward)
        kept: dict[Node, None] = {}

        def want(node: Node) -> None:
            if node in known or node in kept or node.op in LEAVES:
                return
            again = all(arg in known for arg in node.args)  # as tanh(c): cheaper to compute twice than to write down
            if (node.op in DEAR and not again) or node.op in ("part", "sum"):
                kept[node] = None
                return
            for arg in node.args:
                want(arg)

        for node in reachable(roots, forward):
            if node in there:
                want(node)
        dots = [node for node in forward if node.op == "dot"]
        for dot in dots:
            for arg in dot.args:
                if arg.op != "state" and arg not in known:
                    kept[arg] = None
        # Operands of one product next to each other, so that its weight gradient is one large product.
        ordered = [arg for dot in dots for arg in dot.args if arg in kept]
        order = list(dict.fromkeys([*ordered, *sorted(kept, key=lambda node: node.index)]))
        if any(node.op == "u" for node in self._read(roots, order)):
            return dict(_along(order, "saved"))
        # Operands are read once more after the loop over time, when the gradient by u may stand there.
        over = self._over_u(forward, [node for node in order if node not in ordered])
        return {**dict(_along([node for node in order if node not in over], "saved")), **over}

    def _read(self, roots: Sequence[Node], kept: Sequence[Node]) -> list[Node]:
        """All nodes of the backward step."""
        return reachable(roots, [*self._after(), *kept])

    def _over_u(self, forward: Sequence[Node], kept: Sequence[Node]) -> dict[Node, Place]:
        """What can be written over u, which the backward step does not need: memory that is in the cache already.

        A segment of u is free for what is computed in its last reader's phase or later.
        """
        levels = _levels(forward)
        last: dict[Node, int] = {}
        for node in forward:
            for arg in node.args:
                if arg.op == "u":
                    last[arg] = max(last.get(arg, 0), levels[node])
        places: dict[Node, Place] = {}
        size = self.traced.units if self.traced.inputs % self.traced.units == 0 else self.traced.inputs
        for offset in range(0, self.traced.inputs, size):
            since = last.get(self.graph.leaf("u", 0, offset, size), 0)
            free = (n for n in kept if n not in places and n.width == size and levels[n] >= since)
            chosen = next(free, None)
            if chosen is not None:
                places[chosen] = Place("kept", offset)
        return places

    def _accumulated(self, backward: Derivatives) -> list[tuple[Node, int]]:
        """(gradient per row, offset in d_param) of each vector parameter."""
        places, offset = [], 0
        for param, gradient in backward.params.items():
            if gradient.width > 0:
                places.append((gradient, offset))
            offset += param.width
        return places

    def _weights(
        self, backward: Derivatives, roots: list[tuple[Node, Place]], kept: Mapping[Node, Place]
    ) -> tuple[list[WeightGradient], list[int]]:
        """Where the gradients of the products' results go, and the large products that follow the loop over time."""
        at = {node: place for node, place in roots if place.buffer == "d_u"}
        result: list[WeightGradient] = []
        products: list[int] = []
        for dot, gradients in backward.products.items():
            name, row, rows = dot.data
            places = [at.get(node) for node in gradients]
            if not _contiguous(places, gradients):
                buffer = f"d_product{len(products)}"
                products.append(rows)
                roots += _along(gradients, buffer)
                places = [place for _, place in _along(gradients, buffer)]
            column = 0
            for arg in dot.args:
                operand = self.leaf_place(arg) if arg.op == "state" else {**self._after(), **kept}[arg]
                assert places[0] is not None
                result.append(WeightGradient(name, row, rows, column, arg.width, places[0], operand))
                column += arg.width
        return result, products


def _along(nodes: Sequence[Node], buffer: str) -> Iterator[tuple[Node, Place]]:
    """Segments one after another in a buffer."""
    offset = 0
    for node in nodes:
        yield node, Place(buffer, offset)
        offset += node.width if node.width > 0 else 1


def _contiguous(places: Sequence[Place | None], nodes: Sequence[Node]) -> bool:
    """Whether the segments stand one after another in one buffer."""
    first = places[0]
    if first is None:
        return False
    wanted, offset = [], first.offset
    for node in nodes:
        wanted.append(Place(first.buffer, offset))
        offset += node.width
    return list(places) == wanted


def _undisturbed(back: Steps, kept: Mapping[Node, Place]) -> bool:
    """Whether no segment of "kept" is read in a later phase than the one that writes "d_u" at the same place."""
    written = {place.offset: back.levels[node] for node, place in back.roots if place.buffer == "d_u"}
    over = {node: place.offset for node, place in kept.items() if place.buffer == "kept"}
    reads = [(node, arg) for node in back.levels for arg in node.args if arg in over]
    return bool(over) and all(back.levels[node] <= written[over[arg]] for node, arg in reads)


def _levels(nodes: Sequence[Node], known: Mapping[Node, Place] | None = None) -> dict[Node, int]:
    """The phase of each node, given oldest first: how many whole rows must have been complete before it."""
    levels: dict[Node, int] = {}
    for node in nodes:
        if node in (known or {}) or node.op in LEAVES:
            levels[node] = 0
        else:
            levels[node] = max((levels[arg] for arg in node.args), default=0) + (node.op in WHOLE_ROW)
    return levels


@dataclass(frozen=True)
class Phase:
    """A part of a step: products, then sums over rows, then what is stored of every unit.

    Attributes:
        level: how many products and sums deep.
        products, sums: nodes.
        stores: (node, where it goes), also what a later phase reads.
        added: (node, offset in d_param): summed over the rows.
    """

    level: int
    products: list[Node]
    sums: list[Node]
    stores: list[tuple[Node, Place]]
    added: list[tuple[Node, int]]


@dataclass
class Steps:
    """The phases of one step, as lines of C over the rows of a thread."""

    writer: _Writer
    roots: list[tuple[Node, Place]]
    known: Mapping[Node, Place]
    accumulated: Sequence[tuple[Node, int]] = ()
    packed: list[Packed] = field(default_factory=list)
    size: int = 0
    places: dict[Node, Place] = field(default_factory=dict)
    levels: dict[Node, int] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The whole step. Called once, after the roots are complete."""
        wanted = [node for node, _ in self.roots] + [node for node, _ in self.accumulated]
        nodes = reachable(wanted, list(self.known))
        self.levels = _levels(nodes, self.known)
        self.last = max((self.levels[node] for node in wanted), default=0)
        for node, place in self.roots:
            # A gradient by the state overwrites the one that the step still reads: it is written in the last phase.
            if not place.buffer.startswith("d_state"):
                self.places.setdefault(node, place)
        self._assign(nodes)
        for level in range(self.last + 1):
            phase = self._phase(level, [node for node in nodes if self.levels[node] == level])
            self.phases.append(phase)
            yield from self._printed(phase)

    def _leaf(self, node: Node) -> bool:
        return node in self.known or node.op in LEAVES

    def _assign(self, nodes: Sequence[Node]) -> None:
        """Scratch for what a later phase reads."""
        for node in nodes:
            if self._leaf(node):
                continue
            if node.op in ("dot", "tdot"):
                self._scratch(node, -(-node.width // 16) * 16)
            for arg in node.args:
                crosses = self.levels[node] > self.levels[arg] or node.op in ("dot", "tdot", "sum")
                if crosses and not self._leaf(arg) and arg.op not in ("part", "dot", "tdot"):
                    self._scratch(arg, max(arg.width, 1))
        for node, place in self.roots:
            if place.buffer.startswith("d_state") and self.levels[node] < self.last and not self._leaf(node):
                self._scratch(node, max(node.width, 1))
        for node in nodes:
            if node.op == "part" and not self._leaf(node):
                whole = self.places[node.args[0]]
                self.places.setdefault(node, Place("scratch", whole.offset + node.data))

    def _scratch(self, node: Node, size: int) -> None:
        if node not in self.places and node.op != "part":
            self.places[node] = Place("scratch", self.size)
            self.size += -(-size // 16) * 16

    def place(self, node: Node) -> Place:
        """Where the node can be loaded from."""
        if node in self.known:
            return self.known[node]
        return self.writer.leaf_place(node) if node.op in LEAVES else self._scratch_of(node)

    def _scratch_of(self, node: Node) -> Place:
        if node.op == "part":
            whole = self.places[node.args[0]]
            return Place("scratch", whole.offset + node.data)
        return self.places[node]

    def _phase(self, level: int, nodes: Sequence[Node]) -> Phase:
        stores = [
            (node, place)
            for node, place in self.roots
            if (self.last if place.buffer.startswith("d_state") else self.levels[node]) == level
        ]
        crossing = [
            (node, self.places[node])
            for node in nodes
            if not self._leaf(node)
            and node.op not in ("part", "dot", "tdot")
            and node in self.places
            and (node, self.places[node]) not in stores
        ]
        return Phase(
            level,
            products=[node for node in nodes if node.op in ("dot", "tdot") and not self._leaf(node)],
            sums=[node for node in nodes if node.op == "sum" and not self._leaf(node)],
            stores=[*stores, *crossing],
            added=[(node, offset) for node, offset in self.accumulated if self.levels[node] == level],
        )

    def _printed(self, phase: Phase) -> Iterator[str]:
        if phase.products:
            yield "    SYNC"
            for node in phase.products:
                yield from self._product(node)
            yield "    SYNC"
        if phase.stores or phase.added or phase.sums:
            yield from self._rows(phase.level, phase.sums, phase.stores, phase.added)

    def _product(self, node: Node) -> Iterator[str]:
        """One call per stretch of the operand that stands in one piece."""
        target, column, first = self.places[node].offset, 0, True
        name, row, rows = node.data
        for place, depth in self.stretches(node.args):
            if node.op == "dot":
                packed = Packed(name, row, column, depth, rows, transposed=False)
            else:
                packed = Packed(name, row + column, 0, depth, node.width, transposed=True)
            number = len(self.packed)
            self.packed.append(packed)
            yield f"    for (long i = 0; i < R; i++) {{ ROW; from[i] = {_pointer(place)}; to[i] = s + {target}; }}"
            yield (
                f"    C->product(from, R, C->packed[{number}], {depth}, {packed.columns}, to, {int(not first)}, "
                f"PANELS({packed.columns}), rounding);"
            )
            column += depth
            first = False

    def stretches(self, args: Sequence[Node]) -> Iterator[tuple[Place, int]]:
        if any(arg.op == "const" for arg in args):
            raise CannotFuse("a recurrent product of a constant")
        begin, depth = self.place(args[0]), 0
        for arg in args:
            place = self.place(arg)
            if place != Place(begin.buffer, begin.offset + depth):
                yield begin, depth
                begin, depth = place, 0
            depth += arg.width
        yield begin, depth

    def _rows(
        self,
        level: int,
        sums: Sequence[Node],
        stores: Sequence[tuple[Node, Place]],
        added: Sequence[tuple[Node, int]],
    ) -> Iterator[str]:
        """The loop over rows: sums, scalars, then the units of each width."""
        scalars = [node for node, _ in stores if node.width <= 0]
        vectors = [node for node, _ in (*stores, *added) if node.width > 0]
        yield "    for (long i = MINE; i < R; i += EACH) { ROW;"
        text = _Text(self, level)
        for node in sums:
            yield from text.sum(node)
        for node in reachable([*scalars, *vectors], [n for n in self.levels if self.loaded(n, level)]):
            if node.width == SCALAR and not self.loaded(node, level) and node.op != "sum":
                yield from text.scalar(node)
        for node, place in stores:
            if node.width == SCALAR:
                yield f"      {_lvalue(place)}[0] = {text.name(node)}[0];"
        targets = [(node, place, False) for node, place in stores if node.width != SCALAR]
        targets += [(node, Place("d_param", offset), True) for node, offset in added]
        for width in sorted({self.width_of(node, place) for node, place, _ in targets}):
            here = [target for target in targets if self.width_of(target[0], target[1]) == width]
            yield from text.vector(width, here)
        yield "    }"

    def width_of(self, node: Node, place: Place) -> int:
        if node.width > 0:
            return node.width
        widths = {
            "d_u": [self.writer.traced.inputs],
            **{f"d_state{k}": [w] for k, w in enumerate(self.writer.traced.widths)},
        }
        width = widths[place.buffer][0]
        return self.writer.traced.units if width % self.writer.traced.units == 0 else width

    def loaded(self, node: Node, level: int) -> bool:
        """Whether the node's value is loaded in this phase rather than computed."""
        return self._leaf(node) or self.levels[node] < level or node.op in ("part", "dot", "tdot")


class _Text:
    """C expressions of nodes; what has a name already is not written twice."""

    def __init__(self, steps: Steps, level: int) -> None:
        self.steps, self.level = steps, level
        self.names: dict[Node, str] = {}

    def name(self, node: Node) -> str:
        if node.op == "const":
            return _number(float(node.data))
        return self.names[node]

    def sum(self, node: Node) -> Iterator[str]:
        variable = f"x{node.index}"
        yield f"      vec {variable} = {{0}};"
        for arg in node.args:
            base = _pointer(self.steps.place(arg))
            yield f"      {{ const float *p = {base}; long j = 0; for (; j + V <= {arg.width}; j += V) {variable} += load(p + j);"
            yield f"        if (j < {arg.width}) {variable} += load_part(p + j, {arg.width} - j); }}"
        yield f"      {variable} = all(total({variable}));"
        self.names[node] = variable

    def scalar(self, node: Node) -> Iterator[str]:
        """A value per row, held in all lanes, so that it can be used like any other."""
        variable = f"x{node.index}"
        args = []
        for arg in node.args:
            if arg.width == SCALAR and arg not in self.names:
                args.append(f"all({_pointer(self.steps.place(arg))}[0])")
            else:
                args.append(self.name(arg))
        yield f"      vec {variable} = {expression(node.op, args)};"
        self.names[node] = variable

    def vector(self, width: int, targets: Sequence[tuple[Node, Place, bool]]) -> Iterator[str]:
        whole, rest = self._body(targets, ""), self._body(targets, f", {width % 16} % V")
        yield f"      {{ long j = 0; for (; j + V <= {width}; j += V) {{"
        yield from (f"        {line}" for line in whole)
        yield "      }"
        if width % 16:
            yield f"      const long left = {width} - j; if (left) {{"
            yield from (f"        {line}" for line in rest)
            yield "      }"
        yield "      }"

    def _body(self, targets: Sequence[tuple[Node, Place, bool]], part: str) -> list[str]:
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
            if self.steps.loaded(node, self.level):
                place = _pointer(self.steps.place(node))
                return f"all({place}[0])" if node.width == SCALAR else f"load{suffix}({place} + j{count})"
            return expression(node.op, [value(arg) for arg in node.args])

        values = [value(node) for node, _, _ in targets]
        for (_, place, added), name in zip(targets, values, strict=True):
            at = f"{_lvalue(place)} + j"
            old = f"load{suffix}({at}{count}) + " if added else ""
            lines.append(f"store{suffix}({at}, {old}{name}{count});")
        return lines


def expression(op: str, args: Sequence[str]) -> str:
    signs = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
    if op in signs:
        return f"{args[0]} {signs[op]} {args[1]}"
    return f"-{args[0]}" if op == "neg" else f"v_{op}({', '.join(args)})"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return f"all({'-' if value < 0 else ''}INFINITY)" if not math.isnan(value) else "all(NAN)"
    return f"all({value!r}f)"


def _pointer(place: Place) -> str:
    return f"({_BUFFERS.get(place.buffer) or _numbered(place.buffer)} + {place.offset})"


_lvalue = _pointer

_BUFFERS = {
    "scratch": "s", "u": "(C->u + n * INPUTS)", "d_u": "(C->d_u + n * INPUTS)", "out": "(C->out + n * OUTPUTS)",
    "d_out": "(C->d_out + n * OUTPUTS)", "kept": "(C->kept + n * INPUTS)", "saved": "(C->saved + n * SAVED)", "mask": "(C->mask + r * STATE0)",
    "d_param": "d_param",
}  # fmt: skip


def _numbered(buffer: str) -> str:
    stem = buffer.rstrip("0123456789")
    k = buffer[len(stem) :]
    return {
        "before": f"before{k}[i]",
        "after": f"(C->state[{k}] + AT{k} * STATE{k})",
        "d_state": f"(C->d_state[{k}] + r * STATE{k})",
        "d_product": f"(C->d_product[{k}] + n * PRODUCT{k})",
        "param": f"C->param[{k}]",
    }[stem]


_HEAD = """\
#include "native.h"
#include <omp.h>

#define SYNC if (C->shared) { _Pragma("omp barrier") }
#define MINE (C->shared ? id : 0)
#define EACH (C->shared ? team : 1)
#define ROW const long r = C->shared ? i : id + i * team, n = offset + r; float *s = scratch + i * SCRATCH; (void)n; (void)s
#define ALL(columns) (((columns) + PANEL - 1) / PANEL)
#define PANELS(columns) (C->shared ? id * ALL(columns) / team : 0), (C->shared ? (id + 1) * ALL(columns) / team : ALL(columns))
"""

_THREAD = """\
#pragma omp parallel num_threads(C->threads)
  {
  const long id = omp_get_thread_num(), team = omp_get_num_threads();
  float *scratch = C->scratch + (C->shared ? 0 : id * C->scratch_size);
  void *rounding = C->scratch + (C->shared ? 1 + id : team + id) * C->scratch_size;
  const long most = C->shared ? C->batch : (C->batch - id + team - 1) / team;
  const float *from[most > 0 ? most : 1]; float *to[most > 0 ? most : 1]; (void)from; (void)to; (void)rounding;"""


def _forward(writer: _Writer, kind: str, lines: Sequence[str]) -> Iterator[str]:
    """forward_keep stores every state, forward_bare only the last two (the output is always stored)."""
    states = range(len(writer.traced.widths))
    rings = [k for k in states if kind == "bare" and not (k == 0 and writer.aliased)]
    for k in states:
        yield f"#undef AT{k}\n#define AT{k} {'((t & 1) * C->batch + r)' if k in rings else 'n'}"
    yield f"void forward_{kind}(const Call *C) {{\n{_THREAD}"
    yield "  for (long t = 0; t < C->steps; t++) {"
    yield from _opening(writer, rings)
    yield from lines
    yield "  }\n  }\n}"


def _backward(writer: _Writer, lines: Sequence[str], d_params: int) -> Iterator[str]:
    states = range(len(writer.traced.widths))
    yield from (f"#undef AT{k}\n#define AT{k} n" for k in states)
    yield f"void backward(const Call *C) {{\n{_THREAD}"
    yield f"  float *d_param = C->d_param + id * {d_params}; (void)d_param;"
    yield "  for (long t = C->steps - 1; t >= 0; t--) {"
    yield from _opening(writer, [])
    yield from lines
    yield "    if (C->reset) for (long i = MINE; i < R; i += EACH) { ROW; if (!C->reset[n]) continue;"
    for k in states:
        yield (
            f"      for (long j = 0; j < STATE{k}; j++) {{ float *d = C->d_state[{k}] + r * STATE{k} + j; "
            f"C->d_fresh[{k}][r * STATE{k} + j] += *d; *d = 0; }}"
        )
    yield "    }\n  }\n  }\n}"


def _opening(writer: _Writer, rings: Sequence[int]) -> Iterator[str]:
    """The rows of this step, and where the state before it stands: the step before, the initial or the fresh one."""
    yield "    const long offset = C->offset[t];"
    yield "    const long R = C->shared ? C->count[t] : (C->count[t] - id + team - 1) / team;"
    yield "    if (R <= 0) continue;"
    for k in range(len(writer.traced.widths)):
        yield f"    const float *before{k}[R]; (void)before{k};"
    yield "    for (long i = 0; i < R; i++) { ROW; const int anew = C->reset && C->reset[n];"
    for k in range(len(writer.traced.widths)):
        last = "((t - 1) & 1) * C->batch + r" if k in rings else "C->offset[t - 1] + r"
        yield (
            f"      before{k}[i] = anew ? C->fresh[{k}] + r * STATE{k} : t > 0 ? "
            f"C->state[{k}] + ({last}) * STATE{k} : C->initial[{k}] + r * STATE{k};"
        )
    yield "    }"
