"""The generated C: what each phase loads, computes and stores, in float32 and bfloat16."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from unroll.recurrence.kernels.buffers import Buffer, Kind, Place
from unroll.recurrence.kernels.cpu import codegen_c
from unroll.recurrence.kernels.cpu.codegen_c import MAX_LOADS, MAX_OPERATIONS, source
from unroll.recurrence.kernels.graph import Graph
from unroll.recurrence.kernels.operations import OPERATIONS, Cost
from unroll.recurrence.kernels.plan import Program, program
from unroll.recurrence.kernels.schedule import schedule
from unroll.recurrence.kernels.trace import projected_width, trace
from unroll.recurrence.registry import make_cell

CELLS = ["elman", "lstm", "gru", "layernorm-lstm", "layernorm-gru", "slstm", "cornn", "mingru"]


def planned(name: str, units: int = 16, **options: Any) -> Program:
    cell = make_cell(name, 3, units, **options)
    return program(trace(cell, projected_width(cell)))


def function(text: str, name: str) -> str:
    """The text of one function."""
    begin = text.index(f"void {name}(")
    return text[begin : text.index("\n}", begin)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "splat(0.5f)"), (-3.0, "splat(-3.0f)"), (1e-30, "splat(1e-30f)"), (math.inf, "splat(INFINITY)"),
     (-math.inf, "splat(-INFINITY)"), (math.nan, "splat(NAN)")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert codegen_c._number(value) == text


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("narrow", [False, True])
def test_three_functions_whose_braces_match(name: str, narrow: bool) -> None:
    text = source(planned(name), narrow)
    assert re.findall(r"^void (\w+)\(", text, re.M) == ["forward_keep", "forward_bare", "backward"]
    for one in ("forward_keep", "forward_bare", "backward"):
        body = function(text, one) + "\n}"
        assert body.count("{") == body.count("}")
    assert text.startswith("#define NARROW") == narrow


def test_sizes_are_the_plans() -> None:
    made = planned("lstm", projection=10)
    text = source(made)
    for name, size in (("INPUTS", 64), ("OUTPUTS", 10), ("STATE0", 10), ("STATE1", 16), ("SCRATCH", made.scratch)):
        assert f"#define {name} {size}\n" in text


def test_all_threads_wait_before_and_after_a_shared_product() -> None:
    made = planned("gru", reset_gate="before")
    text = function(source(made), "forward_keep")
    products = [line for line in text.splitlines() if "C->product(" in line]
    assert len(products) == 2
    assert text.count("    SYNC") == 4
    assert all("PANELS(" in line and line.endswith("rounding);") for line in products)


def test_a_later_stretch_of_an_operand_is_added() -> None:
    """LayerNorm or cat leave operands in pieces: the first writes, the others add."""
    graph = Graph()
    a, b = graph.leaf("state", 0, 0, 16), graph.leaf("state", 1, 0, 16)
    dot = graph.make("dot", a, b, data=("w", 0, 16), width=16)
    places = {a: Place(Buffer(Kind.BEFORE, 0), 0), b: Place(Buffer(Kind.BEFORE, 1), 0)}
    roots = [(graph.part(dot, 0, 16), Place(Buffer(Kind.AFTER, 0), 0))]
    steps = schedule(roots, {}, (), places.__getitem__, lambda _: 16)
    calls = [line for line in codegen_c._product(steps, dot) if "C->product" in line]
    assert [call.split("to, ")[1][0] for call in calls] == ["0", "1"]
    assert ["packed[0]" in calls[0], "packed[1]" in calls[1]] == [True, True]


def test_operands_at_the_input_side_have_their_own_product() -> None:
    """They are narrow in bfloat16; those of the states are not."""
    text = source(planned("lstm"))
    assert "C->product(" in function(text, "forward_keep") and "C->of_units(" not in function(text, "forward_keep")
    assert "C->of_units(" in function(text, "backward")


def test_gates_are_kept_by_their_distance_from_an_end() -> None:
    """In bfloat16 0.999 is 1; a candidate is kept as it is."""
    text = function(source(planned("lstm"), narrow=True), "forward_keep")
    kept = re.findall(r"(store_\w+)\(\(\(C->kept", text)
    assert sorted(kept) == ["store_gate"] * 3 + ["store_unit"]
    assert "load_gate" in function(source(planned("lstm"), narrow=True), "backward")


@pytest.mark.parametrize(("units", "rest"), [(16, False), (32, False), (20, True), (7, True)])
def test_units_that_fill_no_vector_are_stored_in_part(units: int, rest: bool) -> None:
    text = source(planned("lstm", units))
    assert ("store_part(" in text) == ("const long left" in text) == rest


def test_bare_steps_keep_two_states_and_no_gates() -> None:
    text = source(planned("lstm"))
    keep, bare = function(text, "forward_keep"), function(text, "forward_bare")
    assert "C->kept" in keep and "C->kept" not in bare
    between = text[text.index("void forward_keep") : text.index("void forward_bare")]
    assert "#define AT0 n" in between, "the output is all hidden states"
    assert "#define AT1 ((t & 1) * C->batch + r)" in between


def test_a_row_that_began_anew_gives_its_gradient_to_the_fresh_state() -> None:
    text = function(source(planned("lstm")), "backward")
    for k in (0, 1):
        assert f"C->d_fresh[{k}][r * STATE{k} + j] += *d; *d = 0;" in text
    assert "for (long t = C->steps - 1; t >= 0; t--)" in text


def test_gradients_of_vectors_are_added_up() -> None:
    text = function(source(planned("lstm", peephole=True)), "backward")
    assert re.search(r"store\(\(d_param \+ 32\) \+ j, load\(\(d_param \+ 32\) \+ j\) \+ x\d+\)", text)
    assert "C->d_param + id * 48" in text


def test_only_cheap_things_are_computed_again_and_only_backwards() -> None:
    made = planned("layernorm-lstm")
    assert codegen_c._again(made.steps["keep"]) == codegen_c._again(made.steps["bare"]) == {}
    again = codegen_c._again(made.steps["back"])
    assert again, "differences from a mean, at least"
    for node, (loads, operations) in again.items():
        assert OPERATIONS[node.op].cost is Cost.CHEAP
        assert loads <= MAX_LOADS and operations <= MAX_OPERATIONS
        assert not made.steps["back"].leaf(node)


@pytest.mark.parametrize("name", CELLS)
def test_what_is_loaded_has_been_stored(name: str) -> None:
    """Scratch is read only at offsets that this step has written, or that a product fills."""
    made = planned(name)
    for one in ("forward_keep", "forward_bare", "backward"):
        text = function(source(made), one)
        filled = re.findall(r"to\[i\] = s \+ (\d+);.*\n.*packed\[\d+\], \d+, (\d+), to", text)
        stored = {int(offset) for offset in re.findall(r"store\w*\(\(s \+ (\d+)\)", text)}
        stored |= {int(offset) for offset in re.findall(r"^ +\(s \+ (\d+)\)\[0\] =", text, re.M)}
        loaded = {int(offset) for offset in re.findall(r"(?:load\w*\(|splat\(|= )\(s \+ (\d+)\)", text)}
        filled_at = {at for at in loaded for begin, wide in filled if int(begin) <= at < int(begin) + int(wide)}
        assert loaded <= stored | filled_at, one
        assert bool(filled) == ("C->packed" in text)
