"""Which backend runs a network of its own accord: the numbers are the same, the time and the derivatives are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unroll.recurrence import Recurrent
from unroll.recurrence.kernels import dispatch
from unroll.recurrence.kernels.cpu import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


def ran(cell: str, dtype: torch.dtype = torch.float32, rows: int = 2, **options: Any) -> str:
    network = Recurrent(cell, 3, 4, **options).to(dtype)
    network(torch.randn(5, rows, 3, *((4, 4) if cell.startswith("conv") else ()), dtype=dtype))
    return network.ran


@pytest.mark.parametrize(
    ("cell", "options", "in_float32", "in_float64"),
    [
        ("lstm", {}, "fused", "torch"),
        ("lstm", {"bias": False}, "fused", "torch"),
        ("lstm", {"peephole": True}, "fused", "eager"),
        ("lstm", {"coupled": True}, "fused", "eager"),
        ("lstm", {"projection": 2}, "fused", "eager"),
        ("gru", {}, "fused", "torch"),
        ("gru", {"reset_gate": "before"}, "fused", "eager"),
        ("elman", {}, "fused", "torch"),
        ("elman", {"f": "relu"}, "fused", "torch"),
        ("elman", {"f": "sigmoid"}, "fused", "eager"),
        ("elman", {"f": "identity"}, "fused", "eager"),
        ("mgu", {}, "fused", "eager"),
        ("mingru", {}, "fused", "scan"),
        ("convgru", {}, "eager", "eager"),
        ("gru", {"variational": 0.5}, "fused", "eager"),
        ("gru", {"zoneout": 0.5}, "eager", "eager"),
        ("gru", {"weight_drop": 0.5}, "fused", "torch"),
    ],
)
def test_by_cell_and_precision(cell: str, options: dict[str, Any], in_float32: str, in_float64: str) -> None:
    assert ran(cell, **options) == in_float32
    assert ran(cell, torch.float64, **options) == in_float64


@contextmanager
def rows_at_most(rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "MOST_ROWS", rows)
        yield


def counting() -> Any:
    return FlopCounterMode(display=False)


@pytest.mark.parametrize(
    ("manner", "lstm", "mingru", "mgu"),
    [
        (nullcontext, "fused", "fused", "fused"),
        (lambda: rows_at_most(2), "fused", "fused", "fused"),
        (lambda: rows_at_most(1), "torch", "scan", "eager"),
        (counting, "torch", "scan", "eager"),
        (torch.inference_mode, "fused", "fused", "fused"),
        (lambda: torch.autocast("cpu", torch.float16), "fused", "fused", "fused"),
    ],
)
def test_by_what_goes_on_around_it(manner: Any, lstm: str, mingru: str, mgu: str) -> None:
    with manner():
        assert [ran(cell) for cell in ("lstm", "mingru", "mgu")] == [lstm, mingru, mgu]


def test_transforms_want_elementary_operations() -> None:
    for cell in ("lstm", "mingru"):
        network = Recurrent(cell, 3, 4)
        torch.func.vmap(lambda x, network=network: network(x)[0], in_dims=1, randomness="error")(
            torch.randn(5, 6, 2, 3)
        )
        assert network.ran == "eager", cell


@pytest.mark.parametrize("backend", ["fused", "torch", "scan", "eager"])
def test_what_stands_in_the_way_is_asked_without_a_call(backend: str) -> None:
    lstm, mingru = (Recurrent(cell, 3, 4).cells[0] for cell in ("lstm", "mingru"))
    x = torch.randn(5, 2, 3)
    fits = {"fused": (True, True), "torch": (True, False), "scan": (False, True), "eager": (True, True)}[backend]
    found = [dispatch.unsupported_reason(backend, cell, x, None) for cell in (lstm, mingru)]
    assert tuple(reason is None for reason in found) == fits
    masked = dispatch.unsupported_reason(backend, lstm, x, torch.ones(2, 4))
    assert (masked is None) == (backend in ("fused", "eager"))
