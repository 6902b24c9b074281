"""The fused kernels against the loop over `step`: values, gradients, lengths, resets, masks, all supported cells."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unroll
from unroll.recurrence import CELLS, Recurrent
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels import dispatch
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import Kernel
from unroll.recurrence.kernels.graph import CannotFuse, Graph, differentiate
from unroll.recurrence.kernels.kernel_cache import kernel_of
from unroll.recurrence.kernels.trace import trace
from unroll.recurrence.kernels.workspace import LEAST, Workspace
from unroll.recurrence.registry import make_cell

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


def bell(x: Tensor) -> Tensor:
    """A function of nobody's library."""
    return x / (1 + x * x)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CELLS if not name.startswith("conv")),
    ("elman", {"f": "relu"}),
    ("elman", {"f": "sigmoid"}),
    ("elman", {"f": "identity", "bias": False}),
    ("elman", {"f": bell}),
    ("lstm", {"peephole": True}),
    ("lstm", {"coupled": True}),
    ("lstm", {"projection": 10}),
    ("lstm", {"projection": 10, "peephole": True, "coupled": True, "bias": False}),
    ("gru", {"reset_gate": "before"}),
    ("gru", {"bias": False}),
    ("slstm", {"forget_gate": "exponential"}),
    ("ligru", {"normalised": False}),
    ("mingru", {"candidate": "positive"}),
]
SERVED = [pytest.param(*one, id=f"{number} {one[0]}") for number, one in enumerate(OPTIONS)]
LENGTHS = torch.tensor([7, 2, 0, 5, 5])


def outcome(network: Recurrent, backend: str, **where: Any) -> list[Tensor]:
    """Output, state, and the gradients by everything, of a fixed weighted sum."""
    torch.manual_seed(1)
    network.backend = backend
    x = torch.randn(7, 5, network.input_size, requires_grad=True)
    with torch.no_grad():
        _, state = network(torch.randn(2, 5, network.input_size))
    state = tuple(tensor.requires_grad_() for tensor in state)
    torch.manual_seed(2)  # a mask of dropout is drawn alike by either path
    output, after = network(x, state, **where)
    results = [output, *after]
    loss = torch.stack([(torch.randn_like(result) * result).sum() for result in results]).sum()
    leaves = [x, *state, *network.parameters()]
    return [*results, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


def agree(network: Recurrent, tolerance: float = 2e-5, **where: Any) -> None:
    wanted = outcome(network, "eager", **where)
    got = outcome(network, "fused", **where)
    assert network.ran == "fused"
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * max(1.0, float(b.detach().abs().max())), rtol=tolerance)


@pytest.mark.parametrize(("name", "options"), SERVED)
def test_every_cell_in_every_setting(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Recurrent(name, 9, 20, learn_initial=True, **options)
    reset = torch.rand(7, 5) < 0.3
    agree(network)
    agree(network, lengths=LENGTHS)
    agree(network, reset=reset)
    agree(network, lengths=LENGTHS, reset=reset)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "mgu", "layernorm-lstm", "layernorm-gru", "slstm", "cornn"])
def test_dropout_of_the_hidden_state_and_of_weights(name: str) -> None:
    torch.manual_seed(0)
    agree(Recurrent(name, 9, 20, variational=(0.0, 0.0, 0.4)), lengths=LENGTHS)
    agree(Recurrent(name, 9, 20, weight_drop=0.4))


@pytest.mark.parametrize("units", [1, 7, 16, 48, 50, 100])
def test_any_width_and_any_number_of_rows(units: int) -> None:
    torch.manual_seed(0)
    for name in ("lstm", "layernorm-gru"):
        agree(Recurrent(name, 5, units, 2, bidirectional=True), tolerance=1e-4 if units == 1 else 2e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    """The rows are independent of each other: who computes them does not show in a single bit."""
    network = Recurrent("gru", 6, 40, backend="fused")
    before = torch.get_num_threads()
    results = []
    for count in (1, threads):
        torch.set_num_threads(count)
        try:
            x = torch.randn(9, 30, 6, generator=torch.Generator().manual_seed(0))
            results.append(network(x, lengths=torch.arange(30) % 10)[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.parametrize("rows", [1, 2, 3, 9, 33])
def test_few_rows_are_shared_and_many_are_split(rows: int) -> None:
    network = Recurrent("lstm", 6, 70)
    x = torch.randn(5, rows, 6)
    wanted = Recurrent.forward(network, x)[0]
    network.backend = "eager"
    torch.testing.assert_close(wanted, network(x)[0])


@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm-lstm", "mingru"])
def test_bfloat16_products_with_float32_states(name: str) -> None:
    if not native.base().has_bfloat16():
        pytest.skip("this processor has no bfloat16 products")
    torch.manual_seed(0)
    network = Recurrent(name, 30, 40)
    wanted = outcome(network, "eager")
    with torch.autocast("cpu", torch.bfloat16):
        got = outcome(network, "fused")
    assert all(tensor.dtype == torch.float32 for tensor in got)
    for a, b in zip(got, wanted, strict=True):
        assert float((a - b).detach().norm()) <= 4e-2 * float(b.detach().norm()) + 1e-6


@pytest.mark.parametrize("forget", [5.0, 7.0, 9.0, 30.0])
def test_a_long_memory_keeps_its_gradient_in_bfloat16(forget: float) -> None:
    """0.999 is 1 in bfloat16: were the gate kept as such, nothing would ever vanish through it."""
    if not native.base().has_bfloat16():
        pytest.skip("this processor has no bfloat16 products")
    network = Recurrent("lstm", 3, 20)
    with torch.no_grad():
        network.cells[0].weight_hh.zero_()
        network.cells[0].set_memory(torch.full((20,), forget))
    x = torch.randn(1000, 8, 3)
    slopes = []
    for enabled in (False, True):
        hidden, cell = (torch.zeros(1, 8, 20, requires_grad=True) for _ in range(2))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            _, (_, last) = network(x, (hidden, cell))
        assert network.ran == "fused"
        slopes.append(torch.autograd.grad(last.sum(), cell)[0])
    torch.testing.assert_close(slopes[1], slopes[0], rtol=0.05, atol=1e-3)


def test_more_rows_than_a_stack_holds_take_another_way() -> None:
    network = Recurrent("lstm", 2, 2)
    with torch.no_grad():
        network(torch.zeros(1, dispatch.MOST_ROWS + 1, 2))
    assert network.ran == "torch"


@pytest.mark.parametrize("name", ["lstm", "gru", "mgu"])
def test_a_retained_graph_is_walked_twice(name: str) -> None:
    network = Recurrent(name, 64, 64, backend="fused")
    x = torch.randn(30, 12, 64, requires_grad=True)
    loss = network(x)[0].square().sum()
    leaves = [x, *network.parameters()]
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("frozen", [("weight_ih",), ("weight_ih", "bias_ih", "bias_hh"), ("weight_hh",)])
@pytest.mark.parametrize("name", ["lstm", "layernorm-lstm"])
def test_frozen_weights_get_no_gradient_and_change_no_other(name: str, frozen: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    network, x = Recurrent(name, 9, 20, backend="fused"), torch.randn(7, 5, 9)
    network(x)[0].square().sum().backward()
    wanted = {key: weight.grad for key, weight in network.named_parameters()}
    for key, weight in network.named_parameters():
        weight.grad = None
        weight.requires_grad_(key.rpartition(".")[2] not in frozen)
    network(x)[0].square().sum().backward()
    for key, weight in network.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(weight.grad, wanted[key])
        else:
            assert weight.grad is None


def test_second_derivatives_are_those_of_the_loop() -> None:
    def second(backend: str) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        network = Recurrent("lstm", 40, 48, backend=backend)
        x = torch.randn(20, 6, 40, requires_grad=True)
        (slope,) = torch.autograd.grad(network(x)[0].square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), list(network.parameters()))

    for a, b in zip(second("fused"), second("eager"), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-4)


def test_nan_and_overflow_stay_visible() -> None:
    network = Recurrent("elman", 3, 20, f="relu", backend="fused")
    x = torch.ones(4, 2, 3)
    x[1, 0, 0] = math.nan
    output, _ = network(x)
    assert output[1:, 0].isnan().any()
    assert not output[:, 1].isnan().any()
    with torch.no_grad():
        network.cells[0].weight_hh.fill_(1e30)
    assert network(torch.ones(4, 2, 3) * 1e9)[0].isinf().any()


FUNCTIONS = ["sigmoid", "tanh", "exp", "log", "log1p", "expm1", "softplus", "logsigmoid", "sqrt"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_as_exact_as_float32_allows(function: str) -> None:
    """Through a cell that is this function of its input, over the whole range."""

    class Bare(Cell):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.unused = nn.Parameter(torch.zeros(1))

        def project(self, x: Tensor) -> Tensor:
            return x

        def step(self, u: Tensor, state: Any) -> Any:
            value = getattr(torch if hasattr(torch, function) else F, function)(u)
            return value, (value,)

    high = {"exp": 88.0, "expm1": 80.0}.get(function, 100.0)
    grid = torch.linspace(-high, high, 4096, dtype=torch.float64)
    small = torch.logspace(-30, 2, 2048, dtype=torch.float64).clamp(max=high)
    x = torch.cat([small] if function in ("log", "log1p", "sqrt") else [grid, small, -small]).float()
    got = Recurrent(Bare, len(x), len(x), backend="fused")(x.view(1, 1, -1))[0].flatten().double()
    exact = getattr(torch if hasattr(torch, function) else F, function)(x.double())
    normal = exact.abs() > 1e-37
    assert float(((got - exact) / exact).abs()[normal].max()) < 1e-6


@pytest.mark.parametrize(("kind", "states"), [("LSTM", 2), ("GRU", 1), ("RNN", 1)])
def test_a_saturated_unit_has_no_slope(kind: str, states: int) -> None:
    """tanh and sigmoid are 1 and 0 exactly, or inputs that nobody has scaled (samples, time stamps) get gradients."""
    torch.manual_seed(3)
    theirs, ours = getattr(nn, kind)(4, 8), getattr(unroll, kind)(4, 8)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        for module in (theirs, ours):
            module.weight_ih_l0.copy_(torch.where(module.weight_ih_l0 > 0, 1.0, -1.0))
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).expand(5, 3, 4) * 1e9
    for module in (theirs, ours):
        module(x)[0].sum().backward()
        assert not module.weight_ih_l0.grad.any()
    infinite = torch.tensor([float("inf"), -float("inf"), 1.0]).view(1, 3, 1).expand(1, 3, 8)
    for which in range(states):
        hx: Any = [torch.zeros(1, 3, 8) for _ in range(states)]
        hx[which] = infinite
        hx = hx[0] if states == 1 else tuple(hx)
        torch.testing.assert_close(ours(x, hx), theirs(x, hx), equal_nan=True)


class Branching(Cell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(torch.zeros(hidden_size, input_size))

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)

    def step(self, u: Tensor, state: Any) -> Any:
        value = torch.tanh(u) if bool((u > 0).all()) else u
        return value, (value,)


class Noisy(Branching):
    def step(self, u: Tensor, state: Any) -> Any:
        value = u + torch.rand(u.shape[-1])
        return value, (value,)


class Spectral(Branching):
    def step(self, u: Tensor, state: Any) -> Any:
        value = torch.fft.fft(u).real
        return value, (value,)


class Nested(Branching):
    """Its step calls a module of its own."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def step(self, u: Tensor, state: Any) -> Any:
        value = 0.9 * state[0] + 0.1 * self.norm(torch.clamp(self.inner(state[0]) + u, min=-1, max=1))
        return value, (value,)


@pytest.mark.parametrize(
    ("cell", "why"),
    [(Branching, "all has no fused form"), (Noisy, "not a parameter enters"), (Spectral, "fft_fft has no fused form")],
)
def test_what_cannot_be_fused_says_why_and_runs_in_the_loop(cell: type[Cell], why: str) -> None:
    network = Recurrent(cell, 3, 4)
    network(torch.randn(2, 2, 3))
    assert network.ran in ("eager", "scan")
    network.backend = "fused"
    with pytest.raises(ValueError, match=f"backend='fused' cannot run {cell.__name__} here: .*{why}"):
        network(torch.randn(2, 2, 3))


def test_a_cell_that_nobody_has_seen_is_fused_with_its_modules() -> None:
    torch.manual_seed(0)
    agree(Recurrent(Nested, 9, 20), lengths=LENGTHS)


@pytest.mark.parametrize("backend", ["torch", "scan", "eager"])
def test_a_forced_backend_is_taken_and_told(backend: str) -> None:
    network = Recurrent("mingru" if backend == "scan" else "lstm", 3, 4, backend=backend)
    network(torch.randn(2, 2, 3))
    assert network.ran == backend


@pytest.mark.parametrize(
    ("cell", "backend", "why"),
    [
        ("mgu", "torch", "torch has no kernel for it"),
        ("lstm", "scan", "depend on the state"),
        ("convlstm", "fused", "maps"),
    ],
)
def test_a_forced_backend_that_cannot_serve_says_why(cell: str, backend: str, why: str) -> None:
    x = torch.randn(2, 2, 3, 4, 4) if cell == "convlstm" else torch.randn(2, 2, 3)
    with pytest.raises(ValueError, match=why):
        Recurrent(cell, 3, 4, backend=backend)(x)


def test_two_threads_may_use_one_network() -> None:
    network = Recurrent("lstm", 6, 40)
    x = torch.randn(50, 8, 6)
    wanted = network(x)[0]
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(network(x)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(output, wanted) for output in found)


def test_a_changed_option_is_a_new_kernel() -> None:
    """A cell says its options in extra_repr; training and evaluation may differ, too."""
    cell = make_cell("elman", 3, 4)
    one = kernel_of(cell, Kernel)
    assert kernel_of(cell, Kernel) is one
    cell.name_of_f, cell.f = "relu", torch.relu
    assert kernel_of(cell, Kernel) is not one


def test_the_graph_is_simplified_and_differentiated() -> None:
    graph = Graph()
    x = graph.leaf("u", 0, 0, 4)
    assert graph.point("mul", x, graph.const(1)) is x
    assert graph.point("add", graph.const(0), x) is x
    assert graph.point("neg", graph.point("neg", x)) is x
    assert graph.point("mul", x, graph.const(0)) is graph.const(0)
    square = graph.point("mul", x, x)
    slope = differentiate(graph, [(square, graph.leaf("d_output", 0, 0, 4))]).leaves[x]
    assert slope.op == "add"


def test_a_step_that_mixes_widths_is_refused_by_name() -> None:
    class Wrong(Branching):
        def step(self, u: Tensor, state: Any) -> Any:
            return u, (torch.cat([u, u], -1),)

    with pytest.raises(CannotFuse, match="another width"):
        trace(Wrong(3, 4), 4)


def test_a_buffer_is_used_again_only_when_nobody_holds_it() -> None:
    workspace = Workspace()
    first = workspace.empty(LEAST)
    place = first.data_ptr()
    assert workspace.empty(LEAST).data_ptr() != place
    view = first.view(2, -1)[1]
    del first
    assert workspace.empty(LEAST).data_ptr() != place, "a view holds it"
    array = view.numpy()
    del view
    assert workspace.empty(LEAST).data_ptr() != place, "an array holds it"
    del array
    held = [workspace.empty(LEAST) for _ in range(3)]
    assert place in {tensor.data_ptr() for tensor in held}


def test_auto_is_never_slower_to_decide_than_to_compute() -> None:
    """The order of preference is part of the contract: compiled, torch's, parallel in time, the loop."""
    assert dispatch.BACKENDS[0] == "auto"
    assert dispatch.BACKENDS[-1] == "eager"
    for name, taken in (("lstm", "fused"), ("mgu", "fused"), ("mingru", "fused"), ("convlstm", "eager")):
        network = Recurrent(name, 3, 4)
        network(torch.randn(2, 2, 3, *((4, 4) if name == "convlstm" else ())))
        assert network.ran == taken, name
    network = Recurrent("lstm", 3, 4).double()
    network(torch.randn(2, 2, 3).double())
    assert network.ran == "torch"
