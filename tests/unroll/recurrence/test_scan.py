"""The linear recurrence parallel in time equals the sequential one, and so do the cells built on it."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.cell import loop
from unroll.recurrence.conformance import check_cell
from unroll.recurrence.scan import LinearCell, MinGRUCell, MinLSTMCell, RGLRUCell, linear_loop, linear_scan

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
CELLS: dict[str, Callable[[int, int], LinearCell]] = {
    "mingru": MinGRUCell,
    "mingru positive": lambda d, h: MinGRUCell(d, h, candidate="positive", bias=False),
    "minlstm": MinLSTMCell,
    "minlstm positive": lambda d, h: MinLSTMCell(d, h, candidate="positive"),
    "rglru": RGLRUCell,
    "rglru blocks": lambda d, h: RGLRUCell(d, h, blocks=2),
}
any_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
DECAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda a: a,
    "zero": torch.zeros_like,
    "some zero": lambda a: torch.where(a < 0.3, 0.0, a),
    "one": torch.ones_like,
    "almost one": lambda a: 1 - 1e-12 * a,
    "logits of -300": lambda a: torch.sigmoid(-300 - a),
    "smallest positive": lambda a: a * torch.finfo(a.dtype).tiny,
}


def relative(got: Tensor, want: Tensor) -> float:
    """The largest error in units of the largest value."""
    if not want.numel():
        return 0.0
    return float((got - want).detach().abs().max() / want.detach().abs().max().clamp(min=1e-30))


def inputs(steps: int, batch: int, hidden: int, dtype: torch.dtype = torch.float64, decay: str = "uniform") -> Any:
    a = DECAYS[decay](torch.rand(steps, batch, hidden, dtype=dtype))
    b, initial = torch.randn_like(a), torch.randn(batch, hidden, dtype=dtype)
    return tuple(tensor.requires_grad_() for tensor in (a, b, initial))


def value_and_gradients(function: Callable[..., Tensor], *arguments: Tensor) -> list[Tensor]:
    """The value, and the gradients of a weighted sum of it; the weights depend on its shape only."""
    value = function(*arguments)
    weight = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape).cos()
    return [value, *torch.autograd.grad((value * weight).sum(), arguments)]


def assert_alike(got: list[Tensor], want: list[Tensor], tolerance: float) -> None:
    assert max(relative(g, w) for g, w in zip(got, want, strict=True)) < tolerance


# ---------------------------------------------------------------------------------------- the pure function


@settings(max_examples=60)
@given(
    steps=st.integers(1, 70),
    batch=st.integers(1, 3),
    hidden=st.integers(1, 4),
    decay=st.sampled_from(sorted(DECAYS)),
    dtype=st.sampled_from(sorted(TOLERANCE, key=str)),
    seed=st.integers(0, 2**31),
)
def test_scan_is_the_loop_with_gradients(
    steps: int, batch: int, hidden: int, decay: str, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    arguments = inputs(steps, batch, hidden, dtype, decay)
    want = value_and_gradients(linear_loop, *arguments)
    assert_alike(value_and_gradients(linear_scan, *arguments), want, TOLERANCE[dtype])


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 2**31))
def test_chunks_with_carried_state_are_the_whole(cuts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    arguments = inputs(40, 2, 3)

    def in_chunks(a: Tensor, b: Tensor, state: Tensor) -> Tensor:
        parts, edges = [], [0, *sorted(cuts), 40]
        for begin, end in pairwise(edges):
            parts.append(linear_scan(a[begin:end], b[begin:end], state))
            state = parts[-1][-1] if end > begin else state
        return torch.cat(parts)

    assert_alike(value_and_gradients(in_chunks, *arguments), value_and_gradients(linear_scan, *arguments), 1e-12)


def test_definition_by_hand() -> None:
    a, b = torch.tensor([[0.5], [0.0], [1.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert linear_scan(a, b, torch.tensor([4.0])).flatten().tolist() == [3.0, 2.0, 5.0]


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("batch", [0, 2])
def test_no_steps_and_no_rows(steps: int, batch: int) -> None:
    a, b, initial = inputs(steps, batch, 3)
    value, *gradients = value_and_gradients(linear_scan, a, b, initial)
    assert value.shape == (steps, batch, 3)
    assert relative(value, a * initial + b) < 1e-15
    assert [gradient.shape for gradient in gradients] == [a.shape, b.shape, initial.shape]


@pytest.mark.parametrize("decay", ["uniform", "almost one"])
def test_long_sequence_in_float32(decay: str) -> None:
    """4096 steps; with a near 1 sums of 4096 terms are the answer, and each rounding of them stays in it."""
    torch.manual_seed(0)
    exact = inputs(4096, 2, 8, decay=decay)
    rounded = [tensor.detach().float().requires_grad_() for tensor in exact]
    assert_alike(
        [tensor.double() for tensor in value_and_gradients(linear_scan, *rounded)],
        value_and_gradients(linear_loop, *(tensor.double() for tensor in rounded)),
        1e-5,
    )


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("decay", ["uniform", "some zero"])
def test_gradients_of_first_and_second_order(steps: int, decay: str) -> None:
    torch.manual_seed(steps)
    arguments = inputs(steps, 2, 1, decay=decay)
    assert torch.autograd.gradcheck(linear_scan, arguments)
    assert torch.autograd.gradgradcheck(linear_scan, arguments)


def test_third_order_is_the_loop_s() -> None:
    torch.manual_seed(0)

    def third(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def derivative(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
            value = function(a, b, initial).sin().sum()
            for _ in range(2):
                value = sum(g.sin().sum() for g in torch.autograd.grad(value, (a, b, initial), create_graph=True))
            return value

        return derivative

    arguments = inputs(9, 2, 2)
    assert_alike(
        value_and_gradients(third(linear_scan), *arguments), value_and_gradients(third(linear_loop), *arguments), 1e-11
    )


def test_memory_is_linear_in_time() -> None:
    """What is kept for the backward pass: a and the states, once each, and h_0."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    a, b, initial = inputs(1000, 2, 3)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        linear_scan(a, b, initial)
    assert sum(kept) == a.numel() + b.numel() + initial.numel()


def test_inputs_may_be_views_and_are_left_alone() -> None:
    torch.manual_seed(0)
    whole = torch.rand(2, 30, 10, dtype=torch.float64)
    a, b = whole.transpose(0, 1).chunk(2, dim=-1)
    initial = torch.ones(1, 1, dtype=torch.float64).expand(2, 5)
    before = whole.clone()
    assert relative(linear_scan(a, b, initial), linear_loop(a, b, initial)) < 1e-12
    assert torch.equal(whole, before)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 2, 3), (4, 2, 2), (2, 3)), r"a and b must both be \[T, B, H\], got a \[4, 2, 3\] and b \[4, 2, 2\]"),
        (((4,), (4,), ()), r"a and b must both be \[T, B, H\]"),
        (((4, 2, 3), (4, 2, 3), (1, 2, 3)), r"initial must be \[B, H\] = \[2, 3\], got \[1, 2, 3\]"),
    ],
)
@pytest.mark.parametrize("function", [linear_scan, linear_loop])
def test_wrong_shapes(function: Callable[..., Tensor], shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.float64, torch.float32), (torch.int64,) * 3])
def test_wrong_dtypes(dtypes: tuple[torch.dtype, ...]) -> None:
    a, b, initial = (torch.zeros(2, 1, 1, dtype=dtype) for dtype in dtypes)
    with pytest.raises(TypeError, match="a, b and initial must have one floating point dtype, got a torch"):
        linear_scan(a, b, initial[0])


# ------------------------------------------------------------------------------------------------ the cells


def parallel_and_stepwise(cell: LinearCell, u: Tensor, state: Tensor, **where: Any) -> tuple[list[Tensor], ...]:
    """Output, last state and gradients by the parallel path and by the loop over `step`."""
    parameters = [parameter for parameter in cell.parameters() if parameter.requires_grad]
    results = []
    for sequence in (cell.sequence, lambda *args, **kwargs: loop(cell.step, *args, **kwargs)):
        output, (last,) = sequence(cell.project(u), (state,), **where)
        loss = (output * torch.linspace(0, 1, output.numel(), dtype=u.dtype).view_as(output)).sum() + last.sin().sum()
        results.append([output, last, *torch.autograd.grad(loss, [u, state, *parameters])])
    return tuple(results)


@any_cell
@settings(max_examples=12)
@given(steps=st.integers(1, 30), batch=st.integers(1, 3), resets=st.booleans(), seed=st.integers(0, 2**31))
def test_cell_in_parallel_is_step_by_step(make: Any, steps: int, batch: int, resets: bool, seed: int) -> None:
    torch.manual_seed(seed)
    cell = make(3, 4).double()
    x = torch.randn(steps, batch, 3, dtype=torch.float64).requires_grad_()
    state = torch.randn(batch, 4, dtype=torch.float64).requires_grad_()
    fresh = (torch.randn(batch, 4, dtype=torch.float64),)
    where = {"reset": torch.rand(steps, batch) < 0.3, "fresh": fresh} if resets else {}
    assert_alike(*parallel_and_stepwise(cell, x, state, **where), tolerance=1e-12)


@any_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_in_parallel_is_stepwise(make: Any, bidirectional: bool) -> None:
    """With a given state, lengths (one of them zero) and resets, whole and in chunks."""
    torch.manual_seed(0)
    network = Recurrent(make, 3, 4, 2, bidirectional=bidirectional, learn_initial=True).double()
    x, state = torch.randn(25, 4, 3, dtype=torch.float64), network.initial(4)
    state = tuple(torch.randn_like(tensor) for tensor in state)
    where = {"lengths": torch.tensor([25, 0, 7, 1]), "reset": torch.rand(25, 4) < 0.2}
    results = []
    for network.backend in ("auto", "eager"):
        output, (last,) = network(x, state, **where)
        gradients = torch.autograd.grad(output.sin().sum() + last.sum(), list(network.parameters()))
        results.append([output, last, *gradients])
    assert_alike(*results, tolerance=1e-12)
    assert torch.equal(results[0][1][:, 1], state[0][:, 1])  # the row of length 0 kept its state


@any_cell
def test_recurrent_in_chunks_and_by_step(make: Any) -> None:
    torch.manual_seed(0)
    network = Recurrent(make, 3, 4, 2).double()
    x, state = torch.randn(23, 2, 3, dtype=torch.float64), network.initial(2)
    whole, last = network(x, state)
    parts = []
    for chunk in x.split([5, 1, 17]):
        output, state = network(chunk, state)
        parts.append(output)
    assert_alike([torch.cat(parts), *state], [whole, *last], 1e-12)
    state = network.initial(2)
    for x_t, want in zip(x, whole, strict=True):
        output, state = network.step(x_t, state)
        assert relative(output, want) < 1e-12


@any_cell
def test_reset_starts_anew(make: Any) -> None:
    torch.manual_seed(0)
    network = Recurrent(make, 3, 4).double()
    x, reset = torch.randn(20, 2, 3, dtype=torch.float64), torch.zeros(20, 2, dtype=torch.bool)
    reset[8, 1] = True
    output, _ = network(x, (torch.randn(1, 2, 4, dtype=torch.float64),), reset=reset)
    anew, _ = network(x[8:, 1:])
    assert relative(output[8:, 1:], anew) < 1e-12


@any_cell
def test_long_sequence_of_a_cell_in_float32(make: Any) -> None:
    torch.manual_seed(0)
    cell, x = make(3, 4), torch.randn(4096, 1, 3)
    with torch.no_grad():
        got, _ = cell.sequence(cell.project(x), cell.initial(1))
        exact = cell.double()
        want, _ = exact.sequence(exact.project(x.double()), exact.initial(1))
    assert relative(got.double(), want) < 1e-5


@any_cell
@pytest.mark.parametrize("logit", [-1e4, -200.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_gates_stay_finite(make: Any, logit: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cell = make(3, 4).to(dtype)
    u = torch.full((50, 2, cell.project(torch.zeros(1, 1, 3, dtype=dtype)).shape[-1]), logit, dtype=dtype)
    u[..., -4:] = torch.randn(50, 2, 4)
    u.requires_grad_()
    state = torch.randn(2, 4, dtype=dtype)
    output, _ = cell.sequence(u, (state,))
    (gradient,) = torch.autograd.grad(output.sum(), u)
    assert output.isfinite().all()
    assert gradient.isfinite().all()
    assert relative(output, loop(cell.step, u, (state,))[0]) < TOLERANCE[dtype]


@any_cell
def test_second_order_gradients_of_a_cell(make: Any) -> None:
    torch.manual_seed(0)
    cell = make(3, 2).double()
    x = torch.randn(5, 1, 3, dtype=torch.float64).requires_grad_()
    state = torch.randn(1, 2, dtype=torch.float64).requires_grad_()

    def run(x: Tensor, state: Tensor) -> Tensor:
        return cell.sequence(cell.project(x), (state,))[0]

    assert torch.autograd.gradcheck(run, (x, state))
    assert torch.autograd.gradgradcheck(run, (x, state))


def test_min_gru_by_its_equations() -> None:
    torch.manual_seed(0)
    cell, x, hidden = MinGRUCell(3, 4), torch.randn(1, 2, 3), torch.randn(2, 4)
    weight_z, weight_n = cell.weight_ih.chunk(2)
    assert cell.bias_ih is not None
    bias_z, bias_n = cell.bias_ih.chunk(2)
    z, n = torch.sigmoid(x[0] @ weight_z.T + bias_z), x[0] @ weight_n.T + bias_n
    output, _ = cell.sequence(cell.project(x), (hidden,))
    torch.testing.assert_close(output[0], (1 - z) * hidden + z * n)


def test_min_lstm_by_its_equations() -> None:
    torch.manual_seed(0)
    cell, x, hidden = MinLSTMCell(3, 4, candidate="positive"), torch.randn(1, 2, 3), torch.randn(2, 4)
    assert cell.bias_ih is not None
    f, i, n = (x[0] @ cell.weight_ih.T + cell.bias_ih).chunk(3, dim=-1)
    f, i, n = torch.sigmoid(f), torch.sigmoid(i), torch.where(n >= 0, n + 0.5, torch.sigmoid(n))
    output, _ = cell.sequence(cell.project(x), (hidden,))
    torch.testing.assert_close(output[0], f / (f + i) * hidden + i / (f + i) * n)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("input_size", [3, 4])
def test_rg_lru_by_its_equations(input_size: int, blocks: int) -> None:
    torch.manual_seed(0)
    cell, x, hidden = RGLRUCell(input_size, 4, blocks=blocks), torch.randn(1, 2, input_size), torch.randn(2, 4)
    y = x[0] if cell.weight_ih is None else F.linear(x[0], cell.weight_ih, cell.bias_ih)
    weight_r, weight_i = (torch.block_diag(*gate) for gate in cell.weight_gates)
    bias_r, bias_i = cell.bias_gates.chunk(2)
    r, i = torch.sigmoid(y @ weight_r.T + bias_r), torch.sigmoid(y @ weight_i.T + bias_i)
    a = torch.sigmoid(cell.decay) ** (8 * r)
    output, _ = cell.sequence(cell.project(x), (hidden,))
    torch.testing.assert_close(output[0], a * hidden + torch.sqrt(1 - a**2) * (i * y))


def test_rg_lru_starts_with_the_paper_s_decays() -> None:
    decay = torch.sigmoid(RGLRUCell(500, 500, blocks=10).decay.detach()) ** 8
    assert 0.8999 < float(decay.min()) < 0.905
    assert 0.994 < float(decay.max()) < 0.9991


@pytest.mark.parametrize(("input_size", "hidden"), [(3, 4), (4, 4)])
def test_parameter_counts(input_size: int, hidden: int) -> None:
    def count(cell: LinearCell) -> int:
        return sum(parameter.numel() for parameter in cell.parameters())

    assert count(MinGRUCell(input_size, hidden)) == 2 * hidden * (input_size + 1)
    assert count(MinLSTMCell(input_size, hidden)) == 3 * hidden * (input_size + 1)
    for blocks in (1, 2, 4):
        projection = hidden * (input_size + 1) if input_size != hidden else 0
        want = 2 * hidden * (hidden // blocks + 1) + hidden + projection
        assert count(RGLRUCell(input_size, hidden, blocks=blocks)) == want


@pytest.mark.parametrize("name", ["mingru", "minlstm", "rglru"])
@pytest.mark.parametrize("keep", [-2.0, 1.0, 12.0])
def test_forget_initialisation_sets_the_share_that_is_kept(name: str, keep: float) -> None:
    cell = Recurrent(name, 4, 4, init=f"forget:{keep}").double().cells[0]
    a, _ = cell.coefficients(cell.project(torch.zeros(1, 1, 4, dtype=torch.float64)))
    torch.testing.assert_close(a, torch.full_like(a, 1 / (1 + math.exp(-keep))), rtol=1e-6, atol=1e-6)


def test_autocast_keeps_the_state_in_float32() -> None:
    network, x = Recurrent("mingru", 3, 4), torch.randn(6, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output, (state,) = network(x)
        stepped, _ = network.step(x[0])
    assert output.dtype == state.dtype == stepped.dtype == torch.float32
    assert relative(output, network(x)[0]) < 0.02


@pytest.mark.parametrize("name", ["mingru", "minlstm", "rglru"])
def test_no_recurrent_weights_to_drop_or_mask(name: str) -> None:
    with pytest.raises(ValueError, match="weight_drop needs a cell with recurrent weights"):
        Recurrent(name, 3, 4, weight_drop=0.1)
    with pytest.raises(ValueError, match="needs a step with a mask"):
        Recurrent(name, 3, 4, variational=0.1)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="candidate must be one of linear, positive, got 'exp'"):
        MinGRUCell(3, 4, candidate="exp")
    with pytest.raises(ValueError, match="blocks must divide hidden_size = 4, got 3"):
        RGLRUCell(4, 4, blocks=3)
    with pytest.raises(ValueError, match="blocks must be a positive whole number, got 0"):
        RGLRUCell(4, 4, blocks=0)
    with pytest.raises(ValueError, match="needs a cell with bias=True"):
        Recurrent("minlstm", 3, 4, init="forget", bias=False)


OPTIONS = {"minlstm": {"candidate": "positive", "bias": False}, "mingru": {"bias": False}, "rglru": {"blocks": 2}}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_law_holds_with_options(name: str) -> None:
    check_cell(name, 4, 4, trials=1, **OPTIONS[name])


def test_a_whole_sequence_can_be_exported() -> None:
    network, x = Recurrent("mingru", 3, 4, 2), torch.randn(6, 2, 3)
    program = torch.export.export(network, (x,), dynamic_shapes={"x": {1: torch.export.Dim("batch")}})
    longer = torch.randn(6, 5, 3)
    assert relative(program.module()(longer)[0], network(longer)[0]) < 1e-5


def test_several_gradients_at_once_are_one_after_the_other() -> None:
    """Of weights that differ from step to step: in reverse they are others."""
    inputs = [torch.rand(7, 2, 3), torch.randn(7, 2, 3), torch.randn(2, 3)]
    a, b, initial = (tensor.double().requires_grad_() for tensor in inputs)
    weights = torch.randn(4, 7, 2, 3, dtype=torch.float64)
    hidden = linear_scan(a, b, initial)
    leaves = [a, b, initial]
    at_once = torch.autograd.grad(hidden, leaves, weights, is_grads_batched=True, retain_graph=True)
    for number, weight in enumerate(weights):
        alone = torch.autograd.grad(linear_loop(a, b, initial), leaves, weight)
        for one, other in zip(at_once, alone, strict=True):
            torch.testing.assert_close(one[number], other)
