"""The phases of a step: what needs whole rows first, then one walk over the units; and where everything stands.

An LSTM's forward step is one phase, a GRU with its reset gate before the product two; a layer norm adds two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unroll.recurrence.kernels.buffers import SCRATCH, Buffer, Kind, Place
from unroll.recurrence.kernels.graph import LEAVES, WHOLE_ROW, CannotFuse, Node, reachable


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


def whole_lines(size: int) -> int:
    """Floats of as many whole lines of the cache as hold these."""
    return -(-size // 16) * 16


def levels_of(nodes: Sequence[Node], known: Mapping[Node, Place] | None = None) -> dict[Node, int]:
    """The phase of each node, given oldest first: how many whole rows must have been complete before it."""
    levels: dict[Node, int] = {}
    for node in nodes:
        if node in (known or {}) or node.op in LEAVES:
            levels[node] = 0
        else:
            levels[node] = max((levels[arg] for arg in node.args), default=0) + (node.op in WHOLE_ROW)
    return levels


@dataclass
class Steps:
    """The phases of one step.

    Attributes:
        leaf_place: where a leaf stands before the step.
        segment: width of the segments of a buffer, for what is the same in all units.
        roots: (node, where it goes).
        known: what is there although it was computed: kept from the forward step.
        accumulated: (node, offset in d_param): summed over all rows and steps.
        packed: the weights as the products read them.
        calls: of each product: (operand, number in packed) for each stretch of the operand in one piece.
        size: floats of scratch per row.
        places: where what was computed stands.
        levels: the phase of each node.
        phases: in order.
    """

    leaf_place: Callable[[Node], Place]
    segment: Callable[[Buffer], int]
    roots: list[tuple[Node, Place]]
    known: Mapping[Node, Place]
    accumulated: Sequence[tuple[Node, int]] = ()
    packed: list[Packed] = field(default_factory=list)
    calls: dict[Node, list[tuple[Place, int]]] = field(default_factory=dict)
    size: int = 0
    places: dict[Node, Place] = field(default_factory=dict)
    levels: dict[Node, int] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)

    def plan(self) -> None:
        """Called once, after the roots are complete."""
        wanted = [node for node, _ in self.roots] + [node for node, _ in self.accumulated]
        nodes = reachable(wanted, list(self.known))
        self.levels = levels_of(nodes, self.known)
        self.last = max((self.levels[node] for node in wanted), default=0)
        for node, place in self.roots:
            # A gradient by the state overwrites the one that the step still reads: it is written in the last phase.
            if place.buffer.kind is not Kind.D_STATE:
                self.places.setdefault(node, place)
        for node in nodes:
            if node.op == "param":
                self.leaf_place(node)  # parameters are numbered as they are first seen
        self._assign(nodes)
        for level in range(self.last + 1):
            phase = self._phase(level, [node for node in nodes if self.levels[node] == level])
            self.phases.append(phase)
            for node in phase.products:
                self.calls[node] = list(self._calls(node))

    def leaf(self, node: Node) -> bool:
        """Whether the node is there before the step."""
        return node in self.known or node.op in LEAVES

    def _assign(self, nodes: Sequence[Node]) -> None:
        """Scratch for what a later phase reads."""
        for node in nodes:
            if self.leaf(node):
                continue
            if node.op in ("dot", "tdot"):
                self._scratch(node, whole_lines(node.width))
            for arg in node.args:
                crosses = self.levels[node] > self.levels[arg] or node.op in ("dot", "tdot", "sum")
                if crosses and not self.leaf(arg) and arg.op not in ("part", "dot", "tdot"):
                    self._scratch(arg, max(arg.width, 1))
        for node, place in self.roots:
            if place.buffer.kind is Kind.D_STATE and self.levels[node] < self.last and not self.leaf(node):
                self._scratch(node, max(node.width, 1))
        for node in nodes:
            if node.op == "part" and not self.leaf(node):
                whole = self.places[node.args[0]]
                self.places.setdefault(node, Place(SCRATCH, whole.offset + node.data))

    def _scratch(self, node: Node, size: int) -> None:
        if node not in self.places and node.op != "part":
            self.places[node] = Place(SCRATCH, self.size)
            self.size += whole_lines(size)

    def place(self, node: Node) -> Place:
        """Where the node can be loaded from."""
        if node in self.known:
            return self.known[node]
        return self.leaf_place(node) if node.op in LEAVES else self._scratch_of(node)

    def _scratch_of(self, node: Node) -> Place:
        if node.op == "part":
            whole = self.places[node.args[0]]
            return Place(SCRATCH, whole.offset + node.data)
        return self.places[node]

    def _phase(self, level: int, nodes: Sequence[Node]) -> Phase:
        stores = [
            (node, place)
            for node, place in self.roots
            if (self.last if place.buffer.kind is Kind.D_STATE else self.levels[node]) == level
        ]
        crossing = [
            (node, self.places[node])
            for node in nodes
            if not self.leaf(node)
            and node.op not in ("part", "dot", "tdot")
            and node in self.places
            and (node, self.places[node]) not in stores
        ]
        return Phase(
            level,
            products=[node for node in nodes if node.op in ("dot", "tdot") and not self.leaf(node)],
            sums=[node for node in nodes if node.op == "sum" and not self.leaf(node)],
            stores=[*stores, *crossing],
            added=[(node, offset) for node, offset in self.accumulated if self.levels[node] == level],
        )

    def _calls(self, node: Node) -> Iterator[tuple[Place, int]]:
        name, row, rows = node.data
        column = 0
        for place, depth in self.stretches(node.args):
            if node.op == "dot":
                self.packed.append(Packed(name, row, column, depth, rows, transposed=False))
            else:
                self.packed.append(Packed(name, row + column, 0, depth, node.width, transposed=True))
            yield place, len(self.packed) - 1
            column += depth

    def stretches(self, args: Sequence[Node]) -> Iterator[tuple[Place, int]]:
        """(place, width) of each stretch of an operand that stands in one piece."""
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

    def width_of(self, node: Node, place: Place) -> int:
        """Units that are stored."""
        return node.width if node.width > 0 else self.segment(place.buffer)

    def loaded(self, node: Node, level: int) -> bool:
        """Whether the node's value is loaded in this phase rather than computed."""
        return self.leaf(node) or self.levels[node] < level or node.op in ("part", "dot", "tdot")
