"""The phases of a step: what needs whole rows, what is stored when, and where a later phase finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from unroll.recurrence.kernels.buffers import D_U, KEPT, SAVED, SCRATCH, Buffer, Kind, Place, U
from unroll.recurrence.kernels.graph import LEAVES, SCALAR, CannotFuse, Graph, Node
from unroll.recurrence.kernels.plan import program
from unroll.recurrence.kernels.schedule import Packed, Schedule, levels_of, live_across_phases, schedule, whole_lines
from unroll.recurrence.kernels.trace import projected_width, trace
from unroll.recurrence.registry import make_cell

W = 16


def leaf_place(node: Node) -> Place:
    name, offset = node.data
    buffers = {"u": U, "state": Buffer(Kind.BEFORE, name), "d_state": Buffer(Kind.D_STATE, name)}
    return Place(buffers[node.op], offset)


def planned(roots: list[tuple[Node, Place]], known: Any = None, accumulated: Sequence[Any] = ()) -> Schedule:
    return schedule(roots, known or {}, accumulated, leaf_place, lambda buffer: W)


def leaf(graph: Graph, op: str = "u", name: int = 0, offset: int = 0) -> Node:
    return graph.leaf(op, name, offset, W)


def test_whole_lines() -> None:
    assert [whole_lines(size) for size in (0, 1, 16, 17, 32)] == [0, 16, 16, 32, 32]


def test_a_level_is_how_many_whole_rows_come_before() -> None:
    graph = Graph()
    x = leaf(graph)
    total = graph.make("sum", x, width=SCALAR)
    normal = graph.point("div", x, total)
    dot = graph.make("dot", normal, data=("w", 0, W), width=W)
    out = graph.point("tanh", graph.part(dot, 0, W))
    levels = levels_of([x, total, normal, dot, out.args[0], out])
    assert list(levels.values()) == [0, 1, 1, 2, 2, 2]
    assert levels_of([x, total, normal], {normal: Place(SAVED, 0)})[normal] == 0


def test_all_that_is_pointwise_is_one_phase_without_scratch() -> None:
    graph = Graph()
    hidden = graph.point("tanh", graph.point("add", leaf(graph), leaf(graph, "state")))
    steps = planned([(hidden, Place(Buffer(Kind.AFTER, 0), 0))])
    [phase] = steps.phases
    assert (phase.products, phase.sums, phase.stores) == ((), (), ((hidden, Place(Buffer(Kind.AFTER, 0), 0)),))
    assert steps.size == 0


def test_a_product_is_called_for_each_stretch_of_its_operand() -> None:
    graph = Graph()
    a, b, c = leaf(graph, "state"), leaf(graph, "state", offset=W), leaf(graph, "state", name=1)
    dot = graph.make("dot", a, b, c, data=("w", 5, 2 * W), width=2 * W)
    parts = [graph.part(dot, at, W) for at in (0, W)]
    steps = planned([(graph.point("mul", *parts), Place(Buffer(Kind.AFTER, 0), 0))])
    assert steps.packed == (
        Packed("w", 5, 0, 2 * W, 2 * W, transposed=False), Packed("w", 5, 2 * W, W, 2 * W, transposed=False),
    )  # fmt: skip
    assert steps.calls[dot] == ((Place(Buffer(Kind.BEFORE, 0), 0), 0), (Place(Buffer(Kind.BEFORE, 1), 0), 1))
    assert [steps.places[part] for part in parts] == [Place(SCRATCH, 0), Place(SCRATCH, W)]
    assert steps.size == 2 * W


def test_the_product_of_a_backward_step_reads_rows() -> None:
    graph = Graph()
    a, b = leaf(graph), leaf(graph, "state")
    back = graph.make("tdot", a, b, data=("w", 3, 2 * W), width=W)
    steps = planned([(graph.part(back, 0, W), Place(Buffer(Kind.D_STATE, 0), 0))])
    assert steps.packed == (Packed("w", 3, 0, W, W, transposed=True), Packed("w", 3 + W, 0, W, W, transposed=True))


def test_what_a_later_phase_reads_goes_to_scratch_and_nothing_else() -> None:
    graph = Graph()
    x = graph.point("tanh", leaf(graph))
    y = graph.point("sigmoid", leaf(graph, offset=W))
    total = graph.make("sum", x, width=SCALAR)
    both = graph.point("mul", x, y)
    steps = planned([(graph.point("mul", both, total), Place(Buffer(Kind.AFTER, 0), 0))])
    first, second = steps.phases
    assert [node for node, _ in first.stores] == [x, both], "y is read by nothing later"
    assert [steps.places[node] for node in (x, both)] == [Place(SCRATCH, 0), Place(SCRATCH, W)]
    assert y not in steps.places
    assert second.sums == (total,)
    assert steps.loaded(both, 1) and not steps.loaded(both, 0)


def test_a_gradient_that_is_still_read_is_overwritten_last() -> None:
    """d_state holds the gradient by the state after the step until the last phase."""
    graph = Graph()
    gradient = leaf(graph, "d_state")
    first = graph.point("neg", gradient)
    total = graph.make("sum", gradient, width=SCALAR)
    last = graph.point("mul", gradient, total)
    steps = planned([(first, Place(Buffer(Kind.D_STATE, 0), 0)), (last, Place(Buffer(Kind.AFTER, 0), 0))])
    assert [place.buffer for _, place in steps.phases[0].stores] == [SCRATCH]
    assert {place.buffer for _, place in steps.phases[1].stores} == {Buffer(Kind.D_STATE, 0), Buffer(Kind.AFTER, 0)}


def test_what_is_kept_is_loaded_and_what_is_added_up_has_its_phase() -> None:
    graph = Graph()
    gate = graph.point("sigmoid", leaf(graph))
    twice = graph.point("mul", gate, graph.const(2))
    steps = planned([(twice, Place(D_U, 0))], {gate: Place(KEPT, 0)}, [(twice, 48)])
    assert steps.leaf(gate) and steps.places[gate] == Place(KEPT, 0)
    assert steps.phases[0].added == ((twice, 48),)
    assert leaf(graph) not in steps.levels, "what is known is not computed"


def test_numbers_for_all_have_the_width_of_their_buffer() -> None:
    graph = Graph()
    steps = planned([(graph.const(0), Place(Buffer(Kind.D_STATE, 0), 0))])
    assert steps.width_of(graph.const(0), Place(Buffer(Kind.D_STATE, 0), 0)) == W
    assert steps.width_of(leaf(graph), Place(U, 0)) == W


def test_a_product_of_a_number_is_refused() -> None:
    graph = Graph()
    dot = graph.make("dot", graph.const(1), data=("w", 0, W), width=W)
    with pytest.raises(CannotFuse, match="a recurrent product of a constant"):
        planned([(graph.part(dot, 0, W), Place(Buffer(Kind.AFTER, 0), 0))])


def test_liveness_is_what_one_phase_writes_and_another_reads() -> None:
    graph = Graph()
    x, y = graph.point("tanh", leaf(graph)), graph.point("sigmoid", leaf(graph, offset=W))
    total = graph.make("sum", x, width=SCALAR)
    root = graph.point("mul", graph.point("mul", x, y), total)
    nodes = [*root.args[0].args, root.args[0], total, root]
    nodes = sorted({*nodes, *x.args, *y.args}, key=lambda node: node.index)
    levels = levels_of(nodes)
    assert live_across_phases(nodes, levels, {}, [(root, Place(D_U, 0))], 1) == {x: W, root.args[0]: W}
    kept = {x: Place(SAVED, 0), root.args[0]: Place(SAVED, W)}
    assert live_across_phases(nodes, levels_of(nodes, kept), kept, [(root, Place(D_U, 0))], 1) == {}


def test_a_schedule_does_not_change() -> None:
    graph = Graph()
    steps = planned([(graph.point("tanh", leaf(graph)), Place(Buffer(Kind.AFTER, 0), 0))])
    with pytest.raises(FrozenInstanceError):
        steps.size = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        program(trace(make_cell("lstm", 3, W), None)).saved = 1  # type: ignore[misc]


PHASES = {"elman": (2, 2), "lstm": (2, 2), "mgu": (3, 3), "mingru": (1, 1), "cornn": (2, 2)}


@pytest.mark.parametrize("name", PHASES)
def test_no_phase_reads_what_is_not_there_yet(name: str) -> None:
    cell = make_cell(name, 3, W)
    made = program(trace(cell, projected_width(cell)))
    for kind, steps in made.steps.items():
        there = {node for node in steps.levels if node.op in LEAVES or node in steps.known}
        for phase in steps.phases:
            for node in phase.products:
                assert all(arg in there or arg in steps.places for arg in node.args)
            there |= {node for node, level in steps.levels.items() if level <= phase.level}
            assert all(node in there for node, _ in phase.stores), (kind, phase.level)
    forward, back = PHASES[name]
    assert (len(made.steps["keep"].phases), len(made.steps["back"].phases)) == (forward, back)
