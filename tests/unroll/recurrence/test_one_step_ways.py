"""Which single steps C computes and which torch does: the numbers are the same, the time is not."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import unroll
from unroll.recurrence import Recurrent, one_step
from unroll.recurrence.kernels.cpu import native, step
from unroll.recurrence.recording import record

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


@pytest.mark.parametrize(
    ("options", "training", "taken"),
    [
        ({}, False, True),
        ({}, True, True),
        ({"layers": 2}, False, True),
        ({"skip": True}, False, True),
        ({"residual": True}, False, True),
        ({"skip": True, "layers": 2}, False, False),
        ({"residual": True, "layers": 2}, False, False),
        ({"dropout": 0.5, "layers": 2}, True, False),
        ({"dropout": 0.5, "layers": 2}, False, True),
        ({"weight_drop": 0.5}, True, False),
        ({"weight_drop": 0.5}, False, True),
        ({"variational": 0.5}, True, False),
        ({"variational": 0.5}, False, True),
        ({"zoneout": 0.5}, True, False),
        ({"zoneout": 0.5}, False, False),
        ({"backend": "eager"}, False, False),
        ({"learn_initial": True}, False, True),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_networks(calls: list[int], options: dict[str, Any], training: bool, taken: bool, stated: bool) -> None:
    network = Recurrent("lstm", 6, 6, **options).train(training)
    with torch.no_grad():
        state = network(torch.randn(1, 2, 6))[1] if stated else None
        network.step(torch.randn(2, 6), state)
    assert calls == [2] * taken
    assert network.ran == ("fused" if taken else "eager") or not taken


@pytest.mark.parametrize("followed", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "mgu"])
def test_with_gradients_only_the_cells_that_torch_knows(calls: list[int], cell: str, followed: bool) -> None:
    network = Recurrent(cell, 6, 6)
    with torch.set_grad_enabled(followed):
        network.step(torch.randn(2, 6))
    assert calls == [2] * (cell != "mgu" or not followed)


@pytest.mark.parametrize(("rows", "taken"), [(0, False), (1, True), (8, True), (9, False)])
def test_rows(calls: list[int], monkeypatch: pytest.MonkeyPatch, rows: int, taken: bool) -> None:
    monkeypatch.setattr(step, "MOST_ROWS", 8)
    with torch.no_grad():
        Recurrent("gru", 6, 6).step(torch.randn(rows, 6))
    assert calls == [rows] * taken


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(
    ("options", "shape", "taken"),
    [
        ({}, (1, 3, 6), True),
        ({}, (2, 3, 6), False),
        ({"batch_first": True}, (3, 1, 6), True),
        ({"num_layers": 2}, (1, 3, 6), True),
        ({"bias": False}, (1, 3, 6), True),
        ({"bidirectional": True}, (1, 3, 6), False),
        ({"num_layers": 2, "dropout": 0.5}, (1, 3, 6), False),
    ],
)
def test_layers_of_torch(
    calls: list[int], kind: str, options: dict[str, Any], shape: tuple[int, ...], taken: bool
) -> None:
    module = getattr(unroll, kind)(6, 6, **options)
    with torch.no_grad():
        module(torch.randn(shape))
    assert calls == [3] * taken
    module(torch.randn(shape))
    assert calls == [3, 3] * taken, "with gradients as well"
    if "dropout" in options:
        with torch.no_grad():
            module.eval()(torch.randn(shape))
        assert calls == [3]


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("what", ["plain", "followed", "transposed", "float64", "autocast", "watched"])
def test_cells_of_torch(calls: list[int], monkeypatch: pytest.MonkeyPatch, kind: str, bias: bool, what: str) -> None:
    monkeypatch.setattr(one_step, "LIGHT", 0)
    cell, x, hidden = getattr(unroll, kind)(6, 6, bias=bias), torch.randn(3, 6), torch.zeros(3, 6)
    if what == "transposed":
        cell.weight_hh = nn.Parameter(torch.randn(24 if kind == "LSTMCell" else 18 if kind == "GRUCell" else 6, 6))
        cell.weight_hh.data = cell.weight_hh.data.T.contiguous().T
    if what == "float64":
        cell, x, hidden = cell.double(), x.double(), hidden.double()
    manner = torch.autocast("cpu", torch.bfloat16) if what == "autocast" else nullcontext()
    watch = FlopCounterMode(display=False) if what == "watched" else nullcontext()
    with torch.set_grad_enabled(what == "followed"), manner, watch:
        cell(x, (hidden, hidden) if kind == "LSTMCell" else hidden)
    assert calls == [3] * (what == "plain" or (what == "followed" and kind != "RNNCell"))


@pytest.mark.parametrize(("light", "taken"), [(3 * 4 * (4 + 5), True), (3 * 4 * (4 + 5) + 3, False)])
def test_a_small_cell_of_one_operation_is_torchs(
    calls: list[int], monkeypatch: pytest.MonkeyPatch, light: int, taken: bool
) -> None:
    monkeypatch.setattr(one_step, "LIGHT", light)
    with torch.no_grad():
        unroll.RNNCell(5, 4)(torch.randn(3, 5), torch.zeros(3, 4))
    assert calls == [3] * taken
    monkeypatch.setattr(one_step, "LIGHT_TRAINING", light // 3)  # where the rows do not count
    unroll.RNNCell(5, 4)(torch.randn(3, 5), torch.zeros(3, 4))
    assert calls == [3, 3] * taken


def test_a_network_that_is_recorded_is_run_as_it_is_written(calls: list[int]) -> None:
    network = Recurrent("gru", 6, 6)
    with record(network):
        network.step(torch.randn(2, 6))
    assert not calls


@pytest.mark.parametrize(("work", "threads"), [(1, 2), (0, 1)])
def test_a_second_thread_is_asked_for_where_it_pays(monkeypatch: pytest.MonkeyPatch, work: int, threads: int) -> None:
    """From `LEAST` multiplications on, `READING` of them for each weight."""
    network, x = Recurrent("gru", 6, 6, bias=False), torch.randn(2, 6)
    monkeypatch.setattr(step, "LEAST", (2 + step.READING) * (2 * 18 * 6) + 1 - work)
    monkeypatch.setattr(native, "threads", lambda: 2)
    asked: list[int] = []
    made = step._Frame.__init__
    monkeypatch.setattr(
        step._Frame,
        "__init__",
        lambda self, single, batch, many, home: asked.append(many) or made(self, single, batch, many, home),
    )
    with torch.no_grad():
        network.step(x)
    assert asked == [threads]


def outcome(module: nn.Module, *given: Any) -> Any:
    """What a module returns, or how it refuses."""
    try:
        return module(*given)
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_row_without_a_batch_is_torchs(calls: list[int], kind: str) -> None:
    theirs, ours = getattr(nn, kind)(6, 6), getattr(unroll, kind)(6, 6)
    ours.load_state_dict(theirs.state_dict())
    x, hidden = torch.randn(6), torch.randn(6)
    with torch.no_grad():
        for hx in (hidden, torch.randn(1, 6), torch.randn(1, 2, 6)):
            given = (hx, hx.cos()) if kind == "LSTMCell" else hx
            found, wanted = outcome(ours, x, given), outcome(theirs, x, given)
            if isinstance(wanted, str):
                assert found == wanted
            else:
                torch.testing.assert_close(found, wanted)
    assert not calls
