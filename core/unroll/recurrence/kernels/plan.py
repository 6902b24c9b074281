"""From the graph of a step to a program: its derivative, what is saved for it, and the products after the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unroll.recurrence.kernels.buffers import D_OUT, D_U, KEPT, MASK, OUT, SAVED, Buffer, Kind, Place, U
from unroll.recurrence.kernels.graph import LEAVES, Derivatives, Node, differentiate, reachable
from unroll.recurrence.kernels.operations import OPERATIONS, Cost
from unroll.recurrence.kernels.schedule import Packed, Roots, Schedule, levels_of, nodes_of, schedule, whole_lines
from unroll.recurrence.kernels.trace import StepGraph


@dataclass(frozen=True)
class WeightGradient:
    """dW[row..+rows, column..+columns] = sum over all rows and steps of gradient x operand.

    `gradient` and `operand` are places with one row per step; the operand "before k" is the state before the step.
    """

    param: str
    row: int
    rows: int
    column: int
    columns: int
    gradient: Place
    operand: Place


@dataclass(frozen=True)
class Program:
    """One cell's steps, ready for code generation, and their arguments.

    Attributes:
        forward, backward: packed weights, in the order of `Call.packed`.
        params: (name, offset, width) of the vectors, in the order of `Call.param`.
        d_params: (name, offset, width) of the vectors' gradients, concatenated in `Call.d_param`.
        saved: S, floats per row and step that are saved for the backward step.
        over_u: whether another P floats are saved, which may overwrite u.
        over_kept: whether the gradient by u may in turn overwrite those.
        products: rows of each buffer `Call.d_product`.
        weights: the weight gradients.
        scratch: floats per row, in the forward and the backward step.
        depth: the longest operand of a product.
        aliased: whether the output is the hidden state.
        needs_u: whether the backward step reads u.
        read_again: the weights that the backward step reads.
        inputs, outputs, states: P, O and the widths of the states.
        steps: the phases of "keep", "bare" and "back", for code generators other than C's.
    """

    forward: tuple[Packed, ...]
    backward: tuple[Packed, ...]
    params: tuple[tuple[str, int, int], ...]
    d_params: tuple[tuple[str, int, int], ...]
    saved: int
    over_u: bool
    over_kept: bool
    products: tuple[int, ...]
    weights: tuple[WeightGradient, ...]
    scratch: int
    depth: int
    aliased: bool
    needs_u: bool
    read_again: frozenset[str]
    inputs: int
    outputs: int
    states: tuple[int, ...]
    steps: Mapping[str, Schedule]

    def width(self, buffer: Buffer) -> int:
        """Floats of a row of a buffer."""
        match buffer.kind:
            case Kind.U | Kind.D_U | Kind.KEPT:
                return self.inputs
            case Kind.OUT | Kind.D_OUT:
                return self.outputs
            case Kind.SAVED:
                return self.saved
            case Kind.SCRATCH:
                return self.scratch
            case Kind.D_PRODUCT:
                return self.products[buffer.state]
            case Kind.D_PARAM:
                return sum(width for _, _, width in self.d_params)
            case Kind.PARAM:
                return self.params[buffer.state][2]
        return self.states[buffer.state]


def program(traced: StepGraph) -> Program:
    """Everything needed to run and to differentiate a traced step."""
    return _Planner(traced).program()


class _Planner:
    def __init__(self, traced: StepGraph) -> None:
        self.traced, self.graph = traced, traced.graph
        self.aliased = traced.output == traced.states[0]
        self.after = self._after()

    def program(self) -> Program:
        backward, gradients = self._derivatives()
        wanted = [*(node for node, _ in gradients), *backward.params.values()]
        kept = self._kept(wanted)
        weights, results = self._weights(backward, gradients, kept)
        products = {one.gradient.buffer: one.rows for one in weights if one.gradient.buffer.kind is Kind.D_PRODUCT}
        roots = [*gradients, *results]
        steps, params = self._schedules(kept, roots, self._accumulated(backward))
        forward, back = steps["keep"], steps["back"]
        read = self._read([node for node, _ in roots] + [*backward.params.values()], list(kept))
        return Program(
            forward=forward.packed,
            backward=back.packed,
            params=tuple((node.data[0], node.data[1], node.width) for node in params),
            d_params=tuple((node.data[0], node.data[1], node.width) for node in backward.params),
            saved=whole_lines(sum(max(node.width, 1) for node, place in kept.items() if place.buffer == SAVED)),
            over_u=any(place.buffer == KEPT for place in kept.values()),
            over_kept=_undisturbed(back, kept),
            products=tuple(products.values()),
            weights=weights,
            # A row's scratch must not be a multiple of 4 KiB, or the rows of a product share the same cache lines.
            scratch=max(one.size for one in steps.values()) + 16,
            depth=max([packed.depth for packed in (*forward.packed, *back.packed)], default=0),
            aliased=self.aliased,
            needs_u=any(node.op == "u" for node in read),
            read_again=frozenset(
                [packed.param for packed in back.packed] + [node.data[0] for node in read if node.op == "param"]
            ),
            inputs=self.traced.inputs,
            outputs=sum(node.width for node in self.traced.output),
            states=self.traced.widths,
            steps=steps,
        )

    def _schedules(
        self, kept: Mapping[Node, Place], gradients: Roots, accumulated: Sequence[tuple[Node, int]]
    ) -> tuple[dict[str, Schedule], list[Node]]:
        """The three kinds of steps, and the vector parameters that they read, in numbered order."""
        given: dict[str, tuple[Roots, Mapping[Node, Place], Sequence[tuple[Node, int]]]] = {
            "keep": (self._forward_roots(kept), {}, ()),
            "bare": (self._forward_roots({}), {}, ()),
            "back": (gradients, {**self.after, **kept}, accumulated),
        }
        nodes = [node for step in given.values() for node in nodes_of(*step)]
        params = list(dict.fromkeys(node for node in nodes if node.op == "param"))
        numbers = {node: number for number, node in enumerate(params)}

        def leaf_place(node: Node) -> Place:
            return Place(Buffer(Kind.PARAM, numbers[node]), 0) if node.op == "param" else _leaf_place(node)

        steps = {kind: schedule(*step, leaf_place, self._segment) for kind, step in given.items()}
        return steps, params

    def _segment(self, buffer: Buffer) -> int:
        width = self.traced.inputs if buffer == D_U else self.traced.widths[buffer.state]
        return self.traced.units if width % self.traced.units == 0 else width

    def _after(self) -> dict[Node, Place]:
        """The new states (and the output) have their own arrays, also for the backward step."""
        places = dict(_along(self.traced.output, OUT))
        for k, segments in enumerate(self.traced.states):
            places.update(_along(segments, Buffer(Kind.AFTER, k)))
        return {node: place for node, place in places.items() if node.op not in LEAVES}

    def _forward_roots(self, kept: Mapping[Node, Place]) -> list[tuple[Node, Place]]:
        roots = [] if self.aliased else list(_along(self.traced.output, OUT))
        for k, segments in enumerate(self.traced.states):
            roots += _along(segments, Buffer(Kind.AFTER, k))
        return [*roots, *kept.items()]

    def _derivatives(self) -> tuple[Derivatives, list[tuple[Node, Place]]]:
        """The backward step: (node, target) of the gradients by u, by the states before, and by the products."""
        leaf = self.graph.leaf
        seeds = [
            (node, leaf("d_output", 0, place.offset, node.width)) for node, place in _along(self.traced.output, D_OUT)
        ]
        for k, segments in enumerate(self.traced.states):
            places = _along(segments, Buffer(Kind.D_STATE, k))
            seeds += [(node, leaf("d_state", k, place.offset, node.width)) for node, place in places]
        result = differentiate(self.graph, seeds)
        zero = self.graph.const(0)
        roots = []
        for op, widths in (("u", [self.traced.inputs]), ("state", self.traced.widths)):
            for k, width in enumerate(widths):
                buffer = D_U if op == "u" else Buffer(Kind.D_STATE, k)
                size = self._segment(buffer)
                for offset in range(0, width, size):
                    roots.append((result.leaves.get(leaf(op, k, offset, size), zero), Place(buffer, offset)))
        return result, roots

    def _kept(self, roots: Sequence[Node]) -> dict[Node, Place]:
        """What the backward step needs from the forward one and cannot recompute cheaply, in `saved`."""
        known = self.after
        forward = reachable([node for segments in (self.traced.output, *self.traced.states) for node in segments])
        there = set(forward)
        kept: dict[Node, None] = {}

        def want(node: Node) -> None:
            if node in known or node in kept or node.op in LEAVES:
                return
            again = all(arg in known for arg in node.args)  # like tanh(c): cheaper to recompute than to store
            if node.op in ("part", "sum") or (OPERATIONS[node.op].cost is Cost.EXPENSIVE and not again):
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
        # Operands of one product are adjacent, so that its weight gradient is one large product; single numbers come
        # last, so that vectors are aligned to cache lines.
        ordered = [arg for dot in dots for arg in dot.args if arg in kept]
        order = list(dict.fromkeys([*ordered, *sorted(kept, key=lambda node: (node.width <= 1, node.index))]))
        if any(node.op == "u" for node in self._read(roots, order)):
            return dict(_along(order, SAVED))
        # Operands are read again after the loop over time, when the gradient by u may have overwritten them.
        over = self._over_u(forward, [node for node in order if node not in ordered])
        return {**dict(_along([node for node in order if node not in over], SAVED)), **over}

    def _read(self, roots: Sequence[Node], kept: Sequence[Node]) -> list[Node]:
        """All nodes of the backward step."""
        return reachable(roots, [*self.after, *kept])

    def _over_u(self, forward: Sequence[Node], kept: Sequence[Node]) -> dict[Node, Place]:
        """What can overwrite u, which the backward step does not need: memory that is already in the cache.

        A segment of u can be reused by values computed in the phase of its last reader or later.
        """
        levels = levels_of(forward)
        last: dict[Node, int] = {}
        for node in forward:
            for arg in node.args:
                if arg.op == "u":
                    last[arg] = max(last.get(arg, 0), levels[node])
        places: dict[Node, Place] = {}
        size = self._segment(D_U)
        for offset in range(0, self.traced.inputs, size):
            since = last.get(self.graph.leaf("u", 0, offset, size), 0)
            free = (n for n in kept if n not in places and n.width == size and levels[n] >= since)
            chosen = next(free, None)
            if chosen is not None:
                places[chosen] = Place(KEPT, offset)
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
        self, backward: Derivatives, roots: Roots, kept: Mapping[Node, Place]
    ) -> tuple[tuple[WeightGradient, ...], list[tuple[Node, Place]]]:
        """The large products after the loop over time, and those gradients of products' results that need places of
        their own, because they are not contiguous in d_u.
        """
        at = {node: place for node, place in roots if place.buffer == D_U}
        result: list[WeightGradient] = []
        apart: list[tuple[Node, Place]] = []
        count = 0
        for dot, gradients in backward.products.items():
            name, row, rows = dot.data
            places = [at.get(node) for node in gradients]
            if not _contiguous(places, gradients):
                segments = list(_along(gradients, Buffer(Kind.D_PRODUCT, count)))
                places, count = [place for _, place in segments], count + 1
                apart += segments
            column = 0
            for arg in dot.args:
                operand = _leaf_place(arg) if arg.op == "state" else {**self.after, **kept}[arg]
                assert places[0] is not None
                result.append(WeightGradient(name, row, rows, column, arg.width, places[0], operand))
                column += arg.width
        return tuple(result), apart


def _leaf_place(node: Node) -> Place:
    """Where a leaf that is not a parameter is stored before the step."""
    name, offset = node.data
    match node.op:
        case "u":
            return Place(U, offset)
        case "state":
            return Place(Buffer(Kind.BEFORE, name), offset)
        case "mask":
            return Place(MASK, offset)
        case "d_output":
            return Place(D_OUT, offset)
    return Place(Buffer(Kind.D_STATE, name), offset)


def _along(nodes: Sequence[Node], buffer: Buffer) -> Iterator[tuple[Node, Place]]:
    """Consecutive segments in a buffer."""
    offset = 0
    for node in nodes:
        yield node, Place(buffer, offset)
        offset += node.width if node.width > 0 else 1


def _contiguous(places: Sequence[Place | None], nodes: Sequence[Node]) -> bool:
    """Whether the segments are consecutive in one buffer."""
    first = places[0]
    if first is None:
        return False
    wanted, offset = [], first.offset
    for node in nodes:
        wanted.append(Place(first.buffer, offset))
        offset += node.width
    return list(places) == wanted


def _undisturbed(back: Schedule, kept: Mapping[Node, Place]) -> bool:
    """Whether no segment of KEPT is read in a later phase than the one that writes D_U in the same place."""
    written = {place.offset: back.levels[node] for node, place in back.roots if place.buffer == D_U}
    over = {node: place.offset for node, place in kept.items() if place.buffer == KEPT}
    reads = [(node, arg) for node in back.levels for arg in node.args if arg in over]
    return bool(over) and all(back.levels[node] <= written[over[arg]] for node, arg in reads)
