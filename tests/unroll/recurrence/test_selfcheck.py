"""The check of this machine's arithmetic: correct cells pass, and errors are detected."""

from typing import Any

import pytest
import torch

from unroll.recurrence import selfcheck
from unroll.recurrence.cells import ElmanCell, GRUCell, LSTMCell
from unroll.recurrence.conv import ConvGRUCell
from unroll.recurrence.kernels import dispatch
from unroll.recurrence.selfcheck import TOLERANCE, cells


class Forgetful(ElmanCell):
    """Right values, wrong gradients: nothing flows back through the state."""

    def step(self, u, state, mask=None):
        return super().step(u, tuple(tensor.detach() for tensor in state), mask)


def test_right_cells_pass_in_both_arithmetics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "CELLS", {"lstm": LSTMCell, "gru": GRUCell, "convgru": ConvGRUCell})
    before = torch.get_rng_state()
    found = list(cells(torch.device("cpu")))
    assert [(one.cell, one.dtype) for one in found[:2]] == [("lstm", torch.float64), ("lstm", torch.float32)]
    assert len(found) == 6
    assert all(max(one.gradient, one.fast) <= TOLERANCE[one.dtype] for one in found)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_wrong_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "CELLS", {"forgetful": Forgetful})
    assert all(one.gradient > 10 * TOLERANCE[one.dtype] for one in cells(torch.device("cpu")))


def test_a_wrong_fast_path_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dispatch.run

    def wrong(cell: Any, x: Any, *rest: Any, backend: str, **more: Any) -> Any:
        return right(cell, x if backend == "eager" else 1.01 * x, *rest, backend=backend, **more)

    monkeypatch.setattr(selfcheck, "CELLS", {"lstm": LSTMCell})
    monkeypatch.setattr(dispatch, "run", wrong)
    assert all(one.fast > TOLERANCE[one.dtype] for one in cells(torch.device("cpu")))
