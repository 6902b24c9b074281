"""One time step as a graph: what is computed per unit, what needs the whole row, and the derivative of both.

A node is a vector per row of the batch: [R, width]. Most are pointwise (unit j of the result needs unit j of the
arguments). Three kinds need a whole row: "dot" (a recurrent product), "tdot" (its transpose, in the backward step) and
"sum". Equal nodes are one object, and every node is created after its arguments, so creation order is a valid order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unroll.recurrence.kernels.operations import OPERATIONS, Value

CONST, SCALAR = 0, -1
"""Widths that are not vectors: one number for all rows, and one number per row."""

LEAVES = frozenset({"u", "state", "param", "mask", "const", "d_output", "d_state"})
WHOLE_ROW = frozenset({"dot", "tdot", "sum"})


class CannotFuse(Exception):  # noqa: N818
    """The cell stays on the loop over `step`; the message says what is not supported."""


class ByDesign(CannotFuse):
    """The same for a kind of cell that the kernels are not meant for."""


@dataclass(frozen=True, eq=False)
class Node:
    """One vector per row.

    Attributes:
        op: the operation.
        args: the nodes it is computed from.
        data: what else identifies it: leaf: (name or number, offset); const: the number; part: the offset; dot and
            tdot: (parameter, first row, rows).
        width: units per row, or CONST or SCALAR.
        index: order of creation.
    """

    op: str
    args: tuple[Node, ...]
    data: Any
    width: int
    index: int


class Graph:
    """Creates nodes, each only once, and simplifies them."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}

    def make(self, op: str, *args: Node, data: object = None, width: int | None = None) -> Node:
        """The node; the width of a pointwise node follows from its arguments."""
        width = broadcast([arg.width for arg in args]) if width is None else width
        key = (op, *(arg.index for arg in args), data, width)
        if key not in self._nodes:
            self._nodes[key] = Node(op, args, data, width, len(self._nodes))
        return self._nodes[key]

    def leaf(self, op: str, name: object, offset: int, width: int) -> Node:
        """A value that exists before the step: a segment of u, of a state, of a parameter, of a gradient."""
        return self.make(op, data=(name, offset), width=width)

    def const(self, value: float) -> Node:
        """The same number everywhere."""
        return self.make("const", data=float(value), width=CONST)

    def part(self, whole: Node, offset: int, width: int) -> Node:
        """Units offset to offset + width of a product."""
        return self.make("part", whole, data=offset, width=width)

    def point(self, op: str, *args: Node) -> Node:
        """A pointwise function, folded if constant arguments make it trivial."""
        return self._folded(op, args) or self.make(op, *args)

    def _folded(self, op: str, args: tuple[Node, ...]) -> Node | None:
        values = [arg.data if arg.op == "const" else None for arg in args]
        fold = OPERATIONS[op].fold
        if fold is not None and all(isinstance(value, float) for value in values):
            return self.const(fold(*values))
        if op == "neg" and args[0].op == "neg":
            return args[0].args[0]
        if op in ("add", "sub", "mul", "div"):
            return self._neutral(op, args[0], args[1], values)
        return None

    def _neutral(self, op: str, a: Node, b: Node, values: Sequence[object]) -> Node | None:
        """x + 0, x - 0, 0 - x, x * 1, x * 0, x * -1, x / 1."""
        if op == "mul" and 0.0 in values:
            return self.const(0)
        if op == "mul" and -1.0 in values:
            return self.point("neg", b if values[0] == -1.0 else a)
        if op == "sub" and values[0] == 0.0:
            return self.point("neg", b)
        neutral = 0.0 if op in ("add", "sub") else 1.0
        if values[1] == neutral:
            return a
        if values[0] == neutral and op in ("add", "mul"):
            return b
        return None


def broadcast(widths: Sequence[int]) -> int:
    """The width of a pointwise result.

    Raises:
        ValueError: two vectors of different widths.
    """
    vectors = {width for width in widths if width > 0}
    if len(vectors) > 1:
        raise ValueError(f"vectors of {sorted(vectors)} units do not fit together")
    return vectors.pop() if vectors else min(widths, default=CONST)


def reachable(roots: Sequence[Node], known: Sequence[Node] = ()) -> list[Node]:
    """All nodes that the roots are computed from, oldest first, without going past known ones."""
    stop = set(known)
    found: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.args if node not in stop else ())
    return sorted(found, key=lambda node: node.index)


@dataclass
class Derivatives:
    """What one backward step computes.

    Attributes:
        leaves: gradient by u, state and mask segments: one per row.
        params: gradient by parameter segments; still to be summed over rows and steps.
        products: of each recurrent product: the gradient segments of its result.
    """

    leaves: dict[Node, Node]
    params: dict[Node, Node]
    products: dict[Node, list[Node]]


def differentiate(graph: Graph, seeds: Sequence[tuple[Node, Node]]) -> Derivatives:
    """Reverse mode (Griewank and Walther 2008, ch. 3): from (node, gradient by it) to the gradients by all leaves."""
    adjoint: dict[Node, Node] = {}
    result = Derivatives({}, {}, {})

    def collect(node: Node, gradient: Node) -> None:
        """Adds to a node's gradient, summing over units that it was broadcast to."""
        if node.width == CONST:
            return
        if node.width == SCALAR and gradient.width > 0:
            gradient = graph.make("sum", gradient, width=SCALAR)
        adjoint[node] = graph.point("add", adjoint[node], gradient) if node in adjoint else gradient

    for node, seed in seeds:
        collect(node, seed)
    for node in reversed(reachable([node for node, _ in seeds])):
        if node.op == "dot":
            _product(graph, node, adjoint, collect, result)
        elif node in adjoint and node.op == "param":
            result.params[node] = adjoint[node]
        elif node in adjoint and node.op in LEAVES:
            result.leaves[node] = adjoint[node]
        elif node in adjoint and node.op == "sum":
            for arg in node.args:
                collect(arg, adjoint[node])
        elif node in adjoint and node.op != "part":
            for arg, gradient in zip(node.args, _rule(graph, node, adjoint[node]), strict=True):
                collect(arg, gradient)
    return result


def _product(
    graph: Graph, dot: Node, adjoint: dict[Node, Node], collect: Callable[[Node, Node], None], result: Derivatives
) -> None:
    """dE/d(operand) = dE/d(result) W. The gradient by W itself is one large product after the loop over time."""
    parts = sorted((node for node in adjoint if node.op == "part" and node.args[0] is dot), key=lambda n: n.data)
    gradients = list(_covering(graph, dot, parts, adjoint))
    if not parts:
        return
    result.products[dot] = gradients
    back = graph.make("tdot", *gradients, data=dot.data, width=sum(arg.width for arg in dot.args))
    offset = 0
    for arg in dot.args:
        collect(arg, graph.part(back, offset, arg.width))
        offset += arg.width


def _covering(graph: Graph, dot: Node, parts: Sequence[Node], adjoint: dict[Node, Node]) -> Iterator[Node]:
    """The gradient segments in the order of the product's rows.

    Raises:
        CannotFuse: some of them are not used.
    """
    end = 0
    for part in parts:
        if part.data != end:
            raise CannotFuse(f"units {end} to {part.data} of a recurrent product are not used")
        yield adjoint[part]
        end += part.width
    if parts and end != dot.width:
        raise CannotFuse(f"units {end} to {dot.width} of a recurrent product are not used")


@dataclass(frozen=True)
class _Term(Value):
    """A node in the formula of a derivative."""

    graph: Graph
    node: Node

    def number(self, value: float) -> _Term:
        return _Term(self.graph, self.graph.const(value))

    def apply(self, operation: str, *others: Value) -> _Term:
        nodes = [other.node for other in others if isinstance(other, _Term)]
        return _Term(self.graph, self.graph.point(operation, self.node, *nodes))


def _rule(graph: Graph, node: Node, gradient: Node) -> list[Node]:
    """The gradients by a pointwise node's arguments."""
    terms = (_Term(graph, one) for one in (gradient, node, *node.args))
    found = OPERATIONS[node.op].derivative(*terms)
    return [one.node if isinstance(one, _Term) else graph.const(one) for one in found]
