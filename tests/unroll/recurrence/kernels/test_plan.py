"""From graphs to a plan: what is saved for the backward step, and where values are stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unroll.recurrence.kernels.test_graph import leaves
from unroll.recurrence.kernels.buffers import D_U, KEPT, SAVED, Buffer, Kind, Place
from unroll.recurrence.kernels.graph import Graph
from unroll.recurrence.kernels.plan import Program, _contiguous, program
from unroll.recurrence.kernels.schedule import Packed
from unroll.recurrence.kernels.trace import projected_width, trace
from unroll.recurrence.registry import make_cell

H = 8


def planned(name: str, masked: bool = False, **options: Any) -> Program:
    cell = make_cell(name, 3, H, **options)
    return program(trace(cell, projected_width(cell) if name == "rglru" else None, masked=masked))


def test_an_lstm_keeps_its_gates_where_u_stood() -> None:
    """The four gates take the place of their sums, the gradients by the sums the place of the gates."""
    made = planned("lstm")
    assert (made.inputs, made.outputs, made.states) == (4 * H, H, (H, H))
    assert made.aliased, "the output is the hidden state: it is stored once"
    assert made.over_u and made.over_kept and not made.needs_u
    assert made.saved == 0
    assert made.products == (), "the gradients by the gates' sums are those by u"
    assert made.depth == 4 * H


def test_the_weights_as_the_products_read_them() -> None:
    made = planned("lstm")
    assert made.forward == (Packed("weight_hh", 0, 0, H, 4 * H, transposed=False),)
    assert made.backward == (Packed("weight_hh", 0, 0, 4 * H, H, transposed=True),)


def test_weight_gradients_say_what_is_multiplied_with_what() -> None:
    [one] = planned("lstm").weights
    assert (one.param, one.row, one.rows, one.column, one.columns) == ("weight_hh", 0, 4 * H, 0, H)
    assert (one.gradient, one.operand) == (Place(D_U, 0), Place(Buffer(Kind.BEFORE, 0), 0))


def test_a_masked_state_is_kept_as_the_operand_that_it_is() -> None:
    made = planned("lstm", masked=True)
    [one] = made.weights
    assert one.operand.buffer == SAVED
    assert made.saved == 16, "eight units, in whole lines of the cache"


def test_a_gru_has_a_product_of_its_own() -> None:
    """The reset gate stands behind the product, so that the gradient by the product's result is not that by u."""
    made = planned("gru")
    assert made.products == (3 * H,)
    assert [one.gradient for one in made.weights] == [Place(Buffer(Kind.D_PRODUCT, 0), 0)]


def test_a_gate_before_the_product_makes_two() -> None:
    made = planned("gru", reset_gate="before")
    assert sorted((one.row, one.rows) for one in made.weights) == [(0, 2 * H), (2 * H, H)]
    assert {one.param for one in made.weights} == {"weight_hh"}


def test_vectors_have_their_place_in_one_row_of_sums() -> None:
    made = planned("lstm", peephole=True)
    assert sorted(made.d_params) == sorted(made.params) == [("peephole", k * H, H) for k in range(3)]


@pytest.mark.parametrize(
    "name", ["elman", "lstm", "gru", "layernorm-lstm", "layernorm-gru", "slstm", "cornn", "mingru"]
)
def test_scratch_is_never_a_multiple_of_a_page(name: str) -> None:
    made = planned(name)
    assert made.scratch % 1024
    assert made.scratch >= 16 + max(steps.size for steps in made.steps.values())


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "layernorm-lstm", "layernorm-gru", "slstm", "mgu"])
def test_what_is_kept_does_not_overlap(name: str) -> None:
    made = planned(name)
    taken: dict[Buffer, set[int]] = {}
    for node, place in made.steps["back"].known.items():
        if place.buffer in (SAVED, KEPT):
            units = set(range(place.offset, place.offset + max(node.width, 1)))
            assert not units & taken.setdefault(place.buffer, set())
            taken[place.buffer] |= units
    assert max(taken.get(SAVED, {-1})) < made.saved or not taken.get(SAVED)
    assert max(taken.get(KEPT, {-1})) < made.inputs


def test_a_cell_that_reads_u_again_keeps_it() -> None:
    """No gate may stand where the backward step reads what came in."""
    made = planned("cornn")
    assert made.needs_u == any(node.op == "u" for node in made.steps["back"].levels)
    for name in ("lstm", "gru", "rglru", "slstm"):
        made = planned(name)
        assert not (made.needs_u and made.over_u)


def test_segments_in_one_piece() -> None:
    nodes = leaves(Graph(), 2)
    assert _contiguous([Place(D_U, 4), Place(D_U, 8)], nodes)
    assert not _contiguous([Place(D_U, 4), Place(D_U, 9)], nodes)
    assert not _contiguous([Place(D_U, 4), Place(Buffer(Kind.D_STATE, 0), 8)], nodes)
    assert not _contiguous([None, Place(D_U, 4)], nodes)
    assert not _contiguous([Place(D_U, 4), None], nodes)
