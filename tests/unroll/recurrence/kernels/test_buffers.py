"""Buffers have a kind and a number; neither is parsed from a name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unroll.recurrence.kernels.test_plan import H, planned
from unroll.recurrence import kernels
from unroll.recurrence.kernels.buffers import D_PARAM, D_U, KEPT, MASK, OUT, SAVED, SCRATCH, Buffer, Kind, U
from unroll.recurrence.kernels.cpu.codegen_c import _POINTERS


def test_a_name_is_the_kind_and_the_number() -> None:
    assert (U.name, Buffer(Kind.D_PRODUCT, 11).name, Buffer(Kind.AFTER, 0).name) == ("u", "d_product11", "after0")
    assert Buffer(Kind.AFTER, 1) == Buffer(Kind.AFTER, 1) != Buffer(Kind.AFTER, 2)


def test_what_is_bfloat16_in_a_kernel_for_it() -> None:
    narrow = {kind for kind in Kind if Buffer(kind).at_input_side}
    assert narrow == {Kind.U, Kind.KEPT, Kind.D_U, Kind.D_PRODUCT}


def test_the_width_of_each_buffer() -> None:
    made = planned("gru")
    widths = {U: 3 * H, D_U: 3 * H, KEPT: 3 * H, OUT: H, SAVED: made.saved, SCRATCH: made.scratch, MASK: H}
    widths |= {Buffer(Kind.AFTER, 0): H, Buffer(Kind.D_STATE, 0): H, Buffer(Kind.D_PRODUCT, 0): 3 * H}
    assert {buffer: made.width(buffer) for buffer in widths} == widths
    peephole = planned("lstm", peephole=True)
    assert (peephole.width(D_PARAM), peephole.width(Buffer(Kind.PARAM, 1))) == (3 * H, H)


@pytest.mark.parametrize("kind", _POINTERS)
def test_only_what_has_a_number_asks_for_it_in_c(kind: Kind) -> None:
    numbered = (Kind.PARAM, Kind.BEFORE, Kind.AFTER, Kind.D_STATE, Kind.D_PRODUCT)
    assert ("#" in _POINTERS[kind]) == (kind in numbered)


def test_no_file_takes_a_buffers_name_apart() -> None:
    for path in Path(kernels.__path__[0]).rglob("*.py"):
        assert not re.search(r"buffer(\.name)?\.(startswith|removeprefix|rstrip|replace)\(", path.read_text()), path
