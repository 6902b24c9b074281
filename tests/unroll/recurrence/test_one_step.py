"""A single step against the loop over `step` and against torch.nn, whatever is done to the weights in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import unroll
from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("elman", {}), ("elman", {"f": "relu"}), ("elman", {"f": "sigmoid", "bias": False}), ("lstm", {}),
    ("lstm", {"peephole": True}), ("lstm", {"coupled": True}), ("lstm", {"projection": 11}), ("gru", {}),
    ("gru", {"reset_gate": "before"}), ("mgu", {}), ("indrnn", {}), ("slstm", {}), ("cornn", {}), ("mingru", {}),
    ("layernorm-lstm", {}), ("layernorm-gru", {}), ("ligru", {}),
]  # fmt: skip
VARIANTS: list[dict[str, Any]] = [
    {}, {"num_layers": 2, "batch_first": True}, {"bias": False}, {"bidirectional": True},
    {"num_layers": 2, "dropout": 0.4},
]  # fmt: skip


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    monkeypatch.setattr("unroll.recurrence.kernels.cpu.step.LEAST", 1)  # a second thread at any size
    yield request.param
    torch.set_num_threads(before)


def pair(cell: str, width: int = 5, hidden: int = 37, layers: int = 2, **options: Any) -> tuple[Recurrent, Recurrent]:
    """A network, and the same by the loop."""
    torch.manual_seed(1)
    network = Recurrent(cell, width, hidden, layers, **options)
    eager = Recurrent(cell, width, hidden, layers, backend="eager", **options)
    eager.load_state_dict(network.state_dict())
    return network.eval(), eager.eval()


def same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
@pytest.mark.parametrize("rows", [1, 30])
def test_steps_in_one_call_are_the_loop(
    cell: str, options: dict[str, Any], rows: int, threads: int, calls: list[int]
) -> None:
    network, eager = pair(cell, **options)
    ours = theirs = None
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(rows, 5)
            output, ours = network.step(x, ours)
            expected, theirs = eager.step(x, theirs)
            same((output, ours), (expected, theirs), 5e-5 if cell == "layernorm-lstm" else 1e-5)
    assert network.ran == "fused"
    assert len(calls) == 4


@pytest.mark.parametrize("width", [1, 3, 16, 50, 129])
@pytest.mark.parametrize("rows", [1, 3, 4, 23, 24, 70])
def test_products_of_any_size(width: int, rows: int, calls: list[int]) -> None:
    network, eager = pair("lstm", width, 2 * width + 1, 1)
    x = torch.randn(rows, width)
    state = tuple(torch.randn(1, rows, 2 * width + 1) for _ in range(2))
    with torch.no_grad():
        same(network.step(x, state), eager.step(x, state))
    assert calls


def changes() -> dict[str, Callable[[Recurrent], object]]:
    def data(network: Recurrent) -> None:
        network.cells[0].weight_hh.data.mul_(-1)

    def added(network: Recurrent) -> None:
        network.cells[1].bias_ih.add_(1)

    def other_data(network: Recurrent) -> None:
        network.cells[0].weight_ih.data = torch.randn(4 * 37, 5)

    def transposed(network: Recurrent) -> None:
        weight = network.cells[1].weight_hr
        weight.data = weight.data.t()

    def replaced(network: Recurrent) -> None:
        network.cells[0].bias_hh = nn.Parameter(torch.randn(4 * 37))

    def loaded(network: Recurrent) -> None:
        network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})

    def by_numpy(network: Recurrent) -> None:
        network.cells[1].weight_hh.detach().numpy()[3:40] = 0.25

    return {"data": data, "added": added, "other data": other_data, "transposed": transposed, "replaced": replaced,
            "loaded": loaded, "by numpy": by_numpy}  # fmt: skip


@pytest.mark.parametrize("change", changes().values(), ids=changes())
def test_no_change_of_a_weight_is_missed(change: Callable[[Recurrent], object]) -> None:
    network, _ = pair("lstm", projection=37)
    x, state = torch.randn(3, 5), None
    with torch.no_grad():
        for _ in range(2):
            _, state = network.step(x, state)
        change(network)
        _, eager = pair("lstm", projection=37)
        eager.load_state_dict(network.state_dict())
        same(network.step(x, state), eager.step(x, state))


def test_a_change_of_what_a_cell_reads_is_seen() -> None:
    network, eager = pair("gru")
    x = torch.randn(3, 5)
    with torch.no_grad():
        before, _ = network.step(x, network.initial(3))
        state = (torch.randn(2, 3, 37),)
        network.step(x, state)
        for cell in (*network.cells, *eager.cells):
            cell.reset_gate = "before"
        same(network.step(x, state), eager.step(x, state))
        assert not torch.equal(network.step(x, state)[0], before)


def test_a_state_of_nan_is_refused_and_one_of_infinities_is_not() -> None:
    network, eager = pair("gru", layers=1)
    state = torch.zeros(1, 2, 37)
    state[0, 1, 36] = torch.nan
    for followed in (False, True):
        with torch.set_grad_enabled(followed), pytest.raises(ValueError, match="holds NaN"):
            network.step(torch.zeros(2, 5), (state,))
    state[0, 1, 35:] = torch.tensor([torch.inf, -torch.inf])
    with torch.no_grad():
        ours, theirs = network.step(torch.zeros(2, 5), (state,)), eager.step(torch.zeros(2, 5), (state,))
    torch.testing.assert_close(ours[0][0], theirs[0][0])


@pytest.mark.parametrize(("x", "state", "message"), [
    (torch.zeros(2, 4), None, r"x must be \[T, B, D\] with D = 5"),
    (torch.zeros(2, 5, dtype=torch.float64), None, "x must be torch.float32"),
    (torch.zeros(2, 5), (torch.zeros(2, 3, 37),), r"state\[0\] must be .* got \[2, 3, 37\]"),
    (torch.zeros(2, 5), (torch.zeros(2, 2, 37, dtype=torch.float64),), "must be torch.float32"),
    (torch.zeros(2, 5), torch.zeros(2, 2, 37), "state must be a tuple of 1"),
])  # fmt: skip
def test_wrong_arguments_are_named_as_ever(x: Tensor, state: Any, message: str) -> None:
    network, _ = pair("gru")
    with torch.no_grad():
        network.step(torch.zeros(2, 5))
        with pytest.raises((ValueError, TypeError), match=message):
            network.step(x, state)


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize("followed", [True, False])
def test_what_is_returned_may_be_written_over(cell: str, followed: bool) -> None:
    network, eager = pair(cell, layers=1)
    x = torch.randn(2, 5)
    with torch.set_grad_enabled(followed):
        results = [one.step(x) for one in (network, eager)]
        for output, _ in results:
            output.mul_(3).relu_()
        same(*results)
        for _, state in results:
            state[0].zero_()
        same(*results)
        if followed:
            gradients = [
                torch.autograd.grad(output.sum(), one.parameters())
                for one, (output, _) in zip((network, eager), results, strict=True)
            ]
            for a, b in zip(*gradients, strict=True):
                torch.testing.assert_close(a, b)


def test_a_network_is_stepped_by_several_threads_at_once() -> None:
    network, eager = pair("lstm", 64, 96)
    inputs = [torch.randn(10, 2, 64) for _ in range(4)]
    found: list[Any] = [None] * len(inputs)

    def walk(number: int) -> None:
        with torch.no_grad():
            for _ in range(30):
                state = None
                for x in inputs[number]:
                    output, state = network.step(x, state)
            found[number] = (output, state)

    workers = [threading.Thread(target=walk, args=(number,)) for number in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with torch.no_grad():
        for x, ours in zip(inputs, found, strict=True):
            state = None
            for x_t in x:
                output, state = eager.step(x_t, state)
            same(ours, (output, state))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_where_somebody_watches_it_is_torch_s_operations(calls: list[int]) -> None:
    network, _ = pair("lstm")
    cell, x = unroll.LSTMCell(5, 37), torch.randn(3, 5)
    state = (torch.zeros(3, 37), torch.zeros(3, 37))
    with torch.no_grad():
        with FlopCounterMode(display=False) as counted:
            network.step(x)
            cell(x, state)
            unroll.GRU(5, 6)(x.unsqueeze(0))
        assert counted.get_total_flops() > 0
        traced = torch.jit.trace(cell, (x, state), check_trace=False)
        mapped = torch.func.vmap(lambda x: network.step(x)[0])(torch.randn(2, 3, 5))
    assert mapped.shape == (2, 3, 37)
    assert not calls
    with torch.no_grad():
        torch.testing.assert_close(traced(2 * x, state)[0], nn.LSTMCell.forward(cell, 2 * x, state)[0])


def test_torch_s_defaults_do_not_matter() -> None:
    network, eager = pair("gru")
    x = torch.randn(2, 5)
    with torch.no_grad():
        expected = eager.step(x)
        with torch.device("meta"):
            same(network.step(x, expected[1]), eager.step(x, expected[1]))
        torch.set_default_dtype(torch.float64)
        try:
            same(network.step(x, expected[1]), eager.step(x, expected[1]))
        finally:
            torch.set_default_dtype(torch.float32)


def test_inference_mode_leaves_nothing_behind() -> None:
    network, eager = pair("lstm")
    x = torch.randn(2, 5)
    with torch.inference_mode():
        network.step(x)
    for one in (network, eager):
        one.step(x)[0].sum().backward()
    for a, b in zip(network.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    "option", [{"residual": True}, {"skip": True}, {"zoneout": 0.3}, {"learn_initial": True}], ids=str
)
def test_options_of_a_network_go_along(option: dict[str, Any]) -> None:
    network, eager = pair("lstm", 37, **option)
    x = torch.randn(3, 37)
    with torch.no_grad():
        first = network.step(x)
        same(first, eager.step(x))
        same(network.step(x, first[1]), eager.step(x, first[1]))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("followed", [True, False])
@pytest.mark.parametrize("stated", [True, False])
def test_a_drop_in_on_one_step_is_torch_s(kind: str, options: dict[str, Any], followed: bool, stated: bool) -> None:
    torch.manual_seed(0)
    theirs, ours = getattr(nn, kind)(6, 9, **options), getattr(unroll, kind)(6, 9, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((3, 1, 6) if options.get("batch_first") else (1, 3, 6), requires_grad=followed)
    hidden = torch.randn(options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1), 3, 9)
    hx = None if not stated else (hidden, hidden.cos()) if kind == "LSTM" else hidden
    results = []
    with torch.set_grad_enabled(followed):
        for module in (theirs, ours):
            if "dropout" in options and kind == "LSTM":
                module.eval()  # in training oneDNN draws in an order of its own
            torch.manual_seed(4)
            output, after = module(x, hx)
            output = output.mul(1.0)
            tensors = [output, *(after if kind == "LSTM" else [after])]
            if followed:
                tensors += torch.autograd.grad(
                    sum((t * t.detach().cos()).sum() for t in tensors), [x, *module.parameters()]
                )
            results.append(tensors)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-4)


def test_the_kernels_take_what_they_can(calls: list[int]) -> None:
    x, hidden = torch.randn(100, 5), torch.zeros(100, 37)
    with torch.no_grad():
        unroll.LSTM(5, 37)(x.unsqueeze(0))
        unroll.GRU(5, 37, 2)(x.unsqueeze(0))
        unroll.RNN(5, 37)(x.unsqueeze(0))
        unroll.LSTMCell(5, 37)(x, (hidden, hidden))
        unroll.GRUCell(5, 37)(x, hidden)
        unroll.RNNCell(64, 64)(torch.randn(100, 64), torch.zeros(100, 64))
        assert len(calls) == 6
        unroll.LSTMCell(5, 37).double()(x.double(), (hidden.double(), hidden.double()))
        with torch.autocast("cpu", torch.bfloat16):
            unroll.GRUCell(5, 37)(x, hidden)
    assert len(calls) == 6
    for module in (unroll.LSTM(5, 37), unroll.GRU(5, 37), unroll.RNN(5, 37)):  # with gradients
        module(x.unsqueeze(0))
    unroll.LSTMCell(5, 37)(x)
    assert len(calls) == 9


def test_weights_that_a_call_brings_along_are_used() -> None:
    network, eager = pair("gru")
    x, brought = torch.randn(2, 5), {name: torch.randn_like(p) for name, p in network.named_parameters()}

    class Step(nn.Module):
        def __init__(self, inner: Recurrent) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Any:
            return self.inner.step(x)

    weights = {f"inner.{name}": value for name, value in brought.items()}
    with torch.no_grad():
        for _ in range(2):  # the first finds no kernel yet
            same(*(torch.func.functional_call(Step(one), weights, (x,)) for one in (network, eager)))
            network.step(x)
