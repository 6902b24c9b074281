"""The graph of a step: each node once, trivial operations folded, and derivatives that agree with autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.kernels.graph import CONST, SCALAR, CannotFuse, Graph, Node, broadcast, differentiate, reachable

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    **{
        name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "neg", "sigmoid", "tanh", "relu", "maximum")
    },
    **{name: getattr(torch, name) for name in ("exp", "expm1", "log", "log1p", "sqrt")},
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "select": lambda c, a, b: torch.where(c != 0, a, b),
    "gt": lambda a, b: (a > b).to(a),
    "ge": lambda a, b: (a >= b).to(a),
    "clamp_min": lambda a, b: torch.clamp(a, min=b),
    "past": lambda d, a, b: torch.where(a <= b, 0, d),
    "reached": lambda d, a, b: torch.where(a < b, 0, d),
    "shared": lambda d, a, b: torch.where(a == b, d / 2, d),
}
PAIRS = ("add", "sub", "mul", "div", "maximum", "clamp_min")
TRIPLES = ("select", "past", "reached", "shared")


def value(node: Node, given: dict[Node, Tensor], weights: dict[str, Tensor] | None = None) -> Tensor:
    """What a node is, by torch."""
    if node in given:
        return given[node]
    args = [value(arg, given, weights) for arg in node.args]
    match node.op:
        case "const":
            return torch.tensor(node.data, dtype=torch.float64)
        case "part":
            return args[0][..., node.data : node.data + node.width]
        case "sum":
            return torch.stack([arg.sum(-1, keepdim=True) for arg in args]).sum(0)
    if node.op in ("dot", "tdot"):
        assert weights is not None
        name, row, rows = node.data
        matrix = weights[name][row : row + rows]
        return torch.cat(args, -1) @ (matrix.t() if node.op == "dot" else matrix)
    return OPERATIONS[node.op](*args)


def leaves(graph: Graph, count: int, width: int = 4) -> list[Node]:
    return [graph.leaf("u", k, 0, width) for k in range(count)]


def test_equal_nodes_are_one_and_older_than_what_is_made_of_them() -> None:
    graph = Graph()
    x, y = leaves(graph, 2)
    assert graph.point("mul", x, y) is graph.point("mul", x, y)
    assert graph.point("mul", x, y) is not graph.point("mul", y, x)
    assert graph.leaf("u", 0, 0, 4) is x
    assert graph.leaf("u", 0, 4, 4) is not x
    made = reachable([graph.point("add", graph.point("mul", x, y), x)])
    assert [node.index for node in made] == sorted(node.index for node in made)
    assert all(arg.index < node.index for node in made for arg in node.args)


def test_what_is_known_is_not_looked_into() -> None:
    graph = Graph()
    x, y = leaves(graph, 2)
    product = graph.point("mul", x, y)
    assert reachable([graph.point("neg", product)], [product]) == [product, graph.point("neg", product)]


IDENTITIES: dict[str, Callable[[Graph, Node], tuple[Node, Node]]] = {
    "x + 0": lambda g, x: (g.point("add", x, g.const(0)), x),
    "0 + x": lambda g, x: (g.point("add", g.const(0), x), x),
    "x - 0": lambda g, x: (g.point("sub", x, g.const(0)), x),
    "0 - x": lambda g, x: (g.point("sub", g.const(0), x), g.point("neg", x)),
    "x * 1": lambda g, x: (g.point("mul", x, g.const(1)), x),
    "1 * x": lambda g, x: (g.point("mul", g.const(1), x), x),
    "x * -1": lambda g, x: (g.point("mul", x, g.const(-1)), g.point("neg", x)),
    "-1 * x": lambda g, x: (g.point("mul", g.const(-1), x), g.point("neg", x)),
    "x * 0": lambda g, x: (g.point("mul", x, g.const(0)), g.const(0)),
    "x / 1": lambda g, x: (g.point("div", x, g.const(1)), x),
    "--x": lambda g, x: (g.point("neg", g.point("neg", x)), x),
    "2 + 3": lambda g, x: (g.point("add", g.const(2), g.const(3)), g.const(5)),
    "2 - 3": lambda g, x: (g.point("sub", g.const(2), g.const(3)), g.const(-1)),
    "2 * 3": lambda g, x: (g.point("mul", g.const(2), g.const(3)), g.const(6)),
    "2 / 4": lambda g, x: (g.point("div", g.const(2), g.const(4)), g.const(0.5)),
    "1 / 0": lambda g, x: (g.point("div", g.const(1), g.const(0)), g.const(math.inf)),
    "-1 / 0": lambda g, x: (g.point("div", g.const(-1), g.const(0)), g.const(-math.inf)),
    "-(2)": lambda g, x: (g.point("neg", g.const(2)), g.const(-2)),
}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_what_is_trivial_is_folded(identity: str) -> None:
    graph = Graph()
    got, wanted = IDENTITIES[identity](graph, graph.leaf("u", 0, 0, 4))
    assert got is wanted


@pytest.mark.parametrize(("op", "number"), [("div", 0), ("sub", 1), ("add", 1), ("mul", 2)])
def test_what_is_not_trivial_stays(op: str, number: float) -> None:
    graph = Graph()
    x = graph.leaf("u", 0, 0, 4)
    for pair in ((x, graph.const(number)), (graph.const(number), x)):
        assert graph.point(op, *pair).op == op


def test_widths() -> None:
    assert broadcast([4, CONST, SCALAR, 4]) == 4
    assert broadcast([CONST, SCALAR]) == SCALAR
    assert broadcast([CONST, CONST]) == CONST
    with pytest.raises(ValueError, match=r"vectors of \[3, 4\] units do not fit"):
        broadcast([3, 4])


def slopes_by_torch(graph: Graph, root: Node, given: dict[Node, Tensor], weights: dict[str, Tensor]) -> list[Tensor]:
    inputs = {leaf: tensor.clone().requires_grad_() for leaf, tensor in given.items()}
    torch.manual_seed(0)
    outcome = value(root, dict(inputs), weights)
    found = torch.autograd.grad(
        outcome, list(inputs.values()), torch.ones_like(outcome), allow_unused=True, materialize_grads=True
    )
    return list(found)


def agree(graph: Graph, root: Node, given: dict[Node, Tensor], weights: dict[str, Tensor] | None = None) -> None:
    """Our derivative of the sum of a node, as a graph, has autograd's value."""
    seed = graph.leaf("d_output", 0, 0, root.width)
    found = differentiate(graph, [(root, seed)])
    ones = {seed: torch.ones(5, max(root.width, 1), dtype=torch.float64)}
    for leaf, wanted in zip(given, slopes_by_torch(graph, root, given, weights or {}), strict=True):
        got = {**found.leaves, **found.params}.get(leaf)
        result = torch.zeros_like(wanted) if got is None else value(got, {**given, **ones}, weights)
        torch.testing.assert_close(result.expand_as(wanted), wanted)


@pytest.mark.parametrize("op", OPERATIONS)
def test_the_derivative_of_each_function(op: str) -> None:
    graph = Graph()
    nodes = leaves(graph, 3 if op in TRIPLES else 2 if op in (*PAIRS, "gt", "ge") else 1)
    given = {node: torch.rand(5, 4, dtype=torch.float64) + 0.2 for node in nodes}
    if op == "select":
        given[nodes[0]] = (given[nodes[0]] > 0.7).double()
    elif op not in ("log", "sqrt", "log1p"):
        given[nodes[0]] = given[nodes[0]] - 0.7
    agree(graph, graph.point("mul", graph.point(op, *nodes), nodes[-1]), given)


def test_a_maximum_of_equals_is_shared() -> None:
    graph = Graph()
    x, y = leaves(graph, 2)
    same = torch.rand(5, 4, dtype=torch.float64)
    agree(graph, graph.point("maximum", x, y), {x: same, y: same.clone()})


@pytest.mark.parametrize("op", PAIRS)
def test_what_is_used_twice_has_both_gradients(op: str) -> None:
    graph = Graph()
    x, y = leaves(graph, 2)
    inner = graph.point(op, x, y)
    agree(
        graph,
        graph.point("mul", inner, graph.point("tanh", inner)),
        {n: torch.rand(5, 4).double() + 0.3 for n in (x, y)},
    )


def test_a_sum_over_the_row_and_a_number_for_the_row() -> None:
    graph = Graph()
    x, y = leaves(graph, 2)
    total = graph.make("sum", x, y, width=SCALAR)
    root = graph.point("mul", graph.point("sub", x, total), graph.point("exp", y))
    agree(graph, root, {node: torch.rand(5, 4, dtype=torch.float64) for node in (x, y)})


def test_a_product_with_rows_of_a_matrix_and_its_parts() -> None:
    graph, weights = Graph(), {"w": torch.randn(9, 8, dtype=torch.float64)}
    x, y = leaves(graph, 2)
    dot = graph.make("dot", x, y, data=("w", 1, 8), width=8)
    first, second = graph.part(dot, 0, 4), graph.part(dot, 4, 4)
    root = graph.point("mul", graph.point("tanh", first), graph.point("sigmoid", second))
    agree(graph, root, {node: torch.rand(5, 4, dtype=torch.float64) for node in (x, y)}, weights)
    seed = graph.leaf("d_output", 0, 0, 4)
    found = differentiate(graph, [(root, seed)])
    assert [node.width for node in found.products[dot]] == [4, 4]


@pytest.mark.parametrize(("parts", "missing"), [([4], "0 to 4"), ([0], "4 to 8")])
def test_a_product_of_which_a_part_is_not_used_is_refused(parts: list[int], missing: str) -> None:
    graph = Graph()
    dot = graph.make("dot", graph.leaf("u", 0, 0, 4), data=("w", 0, 8), width=8)
    roots: list[tuple[Node, Any]] = [(graph.part(dot, at, 4), graph.leaf("d_output", 0, at, 4)) for at in parts]
    with pytest.raises(CannotFuse, match=f"units {missing} of a recurrent product are not used"):
        differentiate(graph, roots)


def test_parameters_are_told_from_inputs() -> None:
    graph = Graph()
    x, w = graph.leaf("state", 0, 0, 4), graph.leaf("param", "w", 0, 4)
    found = differentiate(graph, [(graph.point("mul", x, w), graph.leaf("d_output", 0, 0, 4))])
    assert (list(found.leaves), list(found.params)) == ([x], [w])
