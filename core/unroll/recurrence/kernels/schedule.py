"""The phases of a step (first what needs whole rows, then one pass over the units), and where values are stored.

An LSTM's forward step is one phase, that of a GRU with its reset gate before the product two; a layer norm adds two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from unroll.recurrence.kernels.buffers import SCRATCH, Buffer, Kind, Place
from unroll.recurrence.kernels.graph import LEAVES, WHOLE_ROW, CannotFuse, Node, reachable

PRODUCTS = ("dot", "tdot")
Roots = Sequence[tuple[Node, Place]]
Sums = Sequence[tuple[Node, int]]


@dataclass(frozen=True)
class Packed:
    """A part of a weight matrix in the order in which a product reads it, `transposed` for the backward step.

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
    """A part of a step: products, then sums over rows, then what is stored for each unit.

    Attributes:
        level: depth in products and sums.
        products, sums: nodes.
        stores: (node, target), including values that a later phase reads.
        added: (node, offset in d_param): summed over the rows.
    """

    level: int
    products: tuple[Node, ...]
    sums: tuple[Node, ...]
    stores: tuple[tuple[Node, Place], ...]
    added: tuple[tuple[Node, int], ...]


def whole_lines(size: int) -> int:
    """The number of floats, rounded up to whole cache lines."""
    return -(-size // 16) * 16


@dataclass(frozen=True)
class Schedule:
    """One step: the order of its operations, and where values are stored.

    Attributes:
        roots: (node, target).
        known: computed values that are available: saved from the forward step.
        accumulated: (node, offset in d_param): summed over all rows and steps.
        segment: width of a buffer's segments, for values that are the same in all units.
        levels: the phase of each node.
        places: where to load each node that some phase loads.
        size: floats of scratch per row.
        packed: the weights as the products read them.
        calls: for each product: (operand, number in packed) for each contiguous piece of the operand.
        phases: in order.
    """

    roots: Roots
    known: Mapping[Node, Place]
    accumulated: Sums
    segment: Callable[[Buffer], int]
    levels: Mapping[Node, int]
    places: Mapping[Node, Place]
    size: int
    packed: tuple[Packed, ...]
    calls: Mapping[Node, tuple[tuple[Place, int], ...]]
    phases: tuple[Phase, ...]

    def leaf(self, node: Node) -> bool:
        """Whether the node exists before the step."""
        return _there(node, self.known)

    def loaded(self, node: Node, level: int) -> bool:
        """Whether the node's value is loaded in this phase rather than computed."""
        return self.leaf(node) or self.levels[node] < level or node.op in ("part", *PRODUCTS)

    def width_of(self, node: Node, place: Place) -> int:
        """Units that are stored."""
        return node.width if node.width > 0 else self.segment(place.buffer)


def nodes_of(roots: Roots, known: Mapping[Node, Place], accumulated: Sums = ()) -> list[Node]:
    """Everything that a step reads and computes, oldest first."""
    return reachable([node for node, _ in (*roots, *accumulated)], list(known))


def schedule(
    roots: Roots,
    known: Mapping[Node, Place],
    accumulated: Sums,
    leaf_place: Callable[[Node], Place],
    segment: Callable[[Buffer], int],
) -> Schedule:
    """The schedule of a step, pass by pass.

    Args:
        roots, known, accumulated, segment: as in `Schedule`.
        leaf_place: where a leaf is stored before the step.

    Raises:
        CannotFuse: a product's operand is a number.
    """
    nodes = nodes_of(roots, known, accumulated)
    levels = levels_of(nodes, known)
    last = max((levels[node] for node, _ in (*roots, *accumulated)), default=0)
    live = live_across_phases(nodes, levels, known, roots, last)
    places, size = placed(nodes, live, known, roots, leaf_place)
    packed, calls = packed_operands(sorted(nodes, key=levels.__getitem__), places, known)
    phases = phases_of(nodes, levels, places, known, roots, accumulated, last)
    return Schedule(tuple(roots), known, tuple(accumulated), segment, levels, places, size, packed, calls, phases)


def levels_of(nodes: Sequence[Node], known: Mapping[Node, Place] | None = None) -> dict[Node, int]:
    """The phase of each node, given oldest first: how many times whole rows must be complete before it."""
    levels: dict[Node, int] = {}
    for node in nodes:
        if _there(node, known or {}):
            levels[node] = 0
        else:
            levels[node] = max((levels[arg] for arg in node.args), default=0) + (node.op in WHOLE_ROW)
    return levels


def live_across_phases(
    nodes: Sequence[Node], levels: Mapping[Node, int], known: Mapping[Node, Place], roots: Roots, last: int
) -> dict[Node, int]:
    """Liveness: the size in floats of each value that is read in a later phase, or as a whole row."""
    live: dict[Node, int] = {}
    for node in nodes:
        if _there(node, known):
            continue
        if node.op in PRODUCTS:
            live.setdefault(node, node.width)
        for arg in node.args:
            read_later = levels[node] > levels[arg] or node.op in WHOLE_ROW
            if read_later and not _there(arg, known) and arg.op not in ("part", *PRODUCTS):
                live.setdefault(arg, max(arg.width, 1))
    for node, place in roots:
        early = _written_last(place) and levels[node] < last
        if early and not _there(node, known) and node.op != "part":
            live.setdefault(node, max(node.width, 1))
    return live


def placed(
    nodes: Sequence[Node],
    live: Mapping[Node, int],
    known: Mapping[Node, Place],
    roots: Roots,
    leaf_place: Callable[[Node], Place],
) -> tuple[dict[Node, Place], int]:
    """Where loaded values are stored: in their target, or in scratch; and the floats of scratch per row."""
    places: dict[Node, Place] = {}
    size = 0
    for node, place in roots:
        if not _written_last(place):
            places.setdefault(node, place)
    for node, floats in live.items():
        if node not in places:
            places[node] = Place(SCRATCH, size)
            size += whole_lines(floats)
    for node in nodes:
        if node in known:
            places[node] = known[node]
        elif node.op in LEAVES and node.op != "const":
            places[node] = leaf_place(node)
        elif node.op == "part":
            places[node] = Place(SCRATCH, places[node.args[0]].offset + node.data)
    return places, size


def packed_operands(
    nodes: Sequence[Node], places: Mapping[Node, Place], known: Mapping[Node, Place]
) -> tuple[tuple[Packed, ...], dict[Node, tuple[tuple[Place, int], ...]]]:
    """The weights as the products read them, and the contiguous pieces of each product's operand; phase by phase."""
    packed: list[Packed] = []
    calls: dict[Node, tuple[tuple[Place, int], ...]] = {}
    for node in nodes:
        if node.op not in PRODUCTS or _there(node, known):
            continue
        (name, row, rows), column, stretches = node.data, 0, []
        for place, depth in _stretches(node.args, places):
            if node.op == "dot":
                packed.append(Packed(name, row, column, depth, rows, transposed=False))
            else:
                packed.append(Packed(name, row + column, 0, depth, node.width, transposed=True))
            stretches.append((place, len(packed) - 1))
            column += depth
        calls[node] = tuple(stretches)
    return tuple(packed), calls


def phases_of(
    nodes: Sequence[Node],
    levels: Mapping[Node, int],
    places: Mapping[Node, Place],
    known: Mapping[Node, Place],
    roots: Roots,
    accumulated: Sums,
    last: int,
) -> tuple[Phase, ...]:
    """The phases in order: what each computes for whole rows, stores, and accumulates."""
    computed = [node for node in nodes if not _there(node, known)]
    phases = []
    for level in range(last + 1):
        here = [node for node in computed if levels[node] == level]
        stores = [(n, place) for n, place in roots if (last if _written_last(place) else levels[n]) == level]
        kept = [(n, places[n]) for n in here if n in places and n.op not in ("part", *PRODUCTS)]
        phases.append(
            Phase(
                level,
                products=tuple(node for node in here if node.op in PRODUCTS),
                sums=tuple(node for node in here if node.op == "sum"),
                stores=(*stores, *(store for store in kept if store not in stores)),
                added=tuple((node, offset) for node, offset in accumulated if levels[node] == level),
            )
        )
    return tuple(phases)


def _there(node: Node, known: Mapping[Node, Place]) -> bool:
    return node in known or node.op in LEAVES


def _written_last(place: Place) -> bool:
    """A gradient by the state overwrites the one that the step still reads, so it is written in the last phase."""
    return place.buffer.kind is Kind.D_STATE


def _stretches(args: Sequence[Node], places: Mapping[Node, Place]) -> Iterator[tuple[Place, int]]:
    """(place, width) of each contiguous piece of an operand."""
    if any(arg.op == "const" for arg in args):
        raise CannotFuse("a recurrent product of a constant")
    begin, depth = places[args[0]], 0
    for arg in args:
        place = places[arg]
        if place != Place(begin.buffer, begin.offset + depth):
            yield begin, depth
            begin, depth = place, 0
        depth += arg.width
    yield begin, depth
