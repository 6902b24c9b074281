"""The convolutional cells equal the naive loop over frames, and the dense cells on maps of one pixel."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.cells import GRUCell, LSTMCell
from unroll.recurrence.conformance import check_cell
from unroll.recurrence.conv import ConvCell, ConvGRUCell, ConvLSTMCell

EXTENT = (4, 5)
CELLS: dict[str, Callable[..., ConvCell]] = {
    "convlstm": ConvLSTMCell,
    "convlstm peephole": lambda d, h, **options: ConvLSTMCell(d, h, peephole=(1, 1), **options),
    "convlstm peephole map": lambda d, h, **options: ConvLSTMCell(d, h, peephole=EXTENT, **options),
    "convgru": ConvGRUCell,
    "convgru kernels": lambda d, h: ConvGRUCell(d, h, kernel_size=(1, 3), recurrent_kernel_size=5, bias=False),
}
any_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, *EXTENT, dtype=torch.float64)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=(weight.shape[-2] // 2, weight.shape[-1] // 2))


def naive_lstm(cell: ConvLSTMCell, x: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
    assert cell.bias_ih is not None
    p_i, p_f, p_o = cell.peephole if cell.peephole is not None else (torch.zeros(()),) * 3
    u_i, u_f, u_g, u_o = cell.weight_ih.chunk(4)
    w_i, w_f, w_g, w_o = cell.weight_hh.chunk(4)
    b_i, b_f, b_g, b_o = cell.bias_ih.chunk(4)
    outputs = []
    for frame in x:
        i = torch.sigmoid(convolved(frame, u_i, b_i) + convolved(hidden, w_i) + p_i * memory)
        f = torch.sigmoid(convolved(frame, u_f, b_f) + convolved(hidden, w_f) + p_f * memory)
        g = torch.tanh(convolved(frame, u_g, b_g) + convolved(hidden, w_g))
        memory = f * memory + i * g
        o = torch.sigmoid(convolved(frame, u_o, b_o) + convolved(hidden, w_o) + p_o * memory)
        hidden = o * torch.tanh(memory)
        outputs.append(hidden)
    return torch.stack(outputs), hidden, memory


def naive_gru(cell: ConvGRUCell, x: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
    u_r, u_z, u_n = cell.weight_ih.chunk(3)
    w_r, w_z, w_n = cell.weight_hh.chunk(3)
    b_r, b_z, b_n = (None,) * 3 if cell.bias_ih is None else cell.bias_ih.chunk(3)
    outputs = []
    for frame in x:
        r = torch.sigmoid(convolved(frame, u_r, b_r) + convolved(hidden, w_r))
        z = torch.sigmoid(convolved(frame, u_z, b_z) + convolved(hidden, w_z))
        n = torch.tanh(convolved(frame, u_n, b_n) + convolved(r * hidden, w_n))
        hidden = (1 - z) * n + z * hidden
        outputs.append(hidden)
    return torch.stack(outputs), hidden


@any_cell
@settings(max_examples=8)
@given(steps=st.integers(1, 5), batch=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_cell_is_the_naive_loop_with_gradients(make: Any, steps: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    cell = make(2, 3).double()
    x, state = maps(steps, batch, 2).requires_grad_(), tuple(maps(batch, 3) for _ in cell.state_shapes)
    output, last = cell.sequence(cell.project(x), state)
    naive: Any = naive_lstm if isinstance(cell, ConvLSTMCell) else naive_gru
    results = []
    for values in ((output, *last), naive(cell, x, *state)):
        loss = sum(value.sin().sum() for value in values)
        results.append([*values, *torch.autograd.grad(loss, [x, *cell.parameters()])])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("peephole", [None, (1, 1)])
def test_one_pixel_is_the_dense_lstm(peephole: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    conv = ConvLSTMCell(3, 4, kernel_size=1, peephole=peephole).double()
    dense = LSTMCell(3, 4, peephole=peephole is not None).double()
    assert_one_pixel_is_dense(conv, dense)


def test_one_pixel_is_the_dense_gru_with_the_reset_gate_before() -> None:
    torch.manual_seed(0)
    assert_one_pixel_is_dense(ConvGRUCell(3, 4, kernel_size=1).double(), GRUCell(3, 4, reset_gate="before").double())


def assert_one_pixel_is_dense(conv: ConvCell, dense: LSTMCell | GRUCell) -> None:
    weights = {
        name: weight.flatten(2).squeeze(2) if weight.dim() > 2 else weight for name, weight in conv.state_dict().items()
    }
    dense.load_state_dict({**weights, "bias_hh": torch.zeros_like(weights["bias_ih"])})
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    want, want_state = dense.sequence(dense.project(x), dense.initial(2))
    got, state = conv.sequence(conv.project(x[..., None, None]), conv.initial(2, (1, 1)))
    for one, other in zip((got, *state), (want, *want_state), strict=True):
        torch.testing.assert_close(one[..., 0, 0], other, rtol=1e-12, atol=1e-12)


@any_cell
def test_recurrent_over_maps(make: Any) -> None:
    """Shapes by the design, [layers x directions, B, H, Y, X]; a padded row alone is that row in the batch."""
    torch.manual_seed(0)
    network = Recurrent(make, 2, 3, 2, bidirectional=True).double()
    x, lengths = maps(6, 3, 2), torch.tensor([6, 0, 3])
    output, state = network(x, lengths=lengths)
    assert output.shape == (6, 3, 6, *EXTENT)
    assert all(tensor.shape == (4, 3, 3, *EXTENT) for tensor in state)
    alone, alone_state = network(x[:3, 2:])
    torch.testing.assert_close(output[:3, 2:], alone, rtol=1e-12, atol=1e-12)
    for together, single in zip(state, alone_state, strict=True):
        torch.testing.assert_close(together[:, 2:], single, rtol=1e-12, atol=1e-12)
        assert not together[:, 1].any()
    assert not output[:, 1].any()
    assert not output[3:, 2].any()


@any_cell
def test_chunks_steps_and_resets(make: Any) -> None:
    torch.manual_seed(0)
    network = Recurrent(make, 2, 3, 2).double()
    x, reset = maps(7, 2, 2), torch.zeros(7, 2, dtype=torch.bool)
    reset[4, 1] = True
    whole, last = network(x, reset=reset)
    first, state = network(x[:5], reset=reset[:5])
    then, state = network(x[5:], state)
    for got, want in zip((torch.cat([first, then]), *state), (whole, *last), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    anew, _ = network(x[4:, 1:])
    torch.testing.assert_close(whole[4:, 1:], anew, rtol=1e-12, atol=1e-12)
    state = network.initial(2, EXTENT)
    for frame, want in zip(x[:4], whole, strict=False):
        output, state = network.step(frame, state)
        torch.testing.assert_close(output, want, rtol=1e-12, atol=1e-12)


@any_cell
def test_gradients_of_first_and_second_order(make: Any) -> None:
    torch.manual_seed(0)
    cell = make(1, 1).double()
    x, state = maps(2, 1, 1).requires_grad_(), tuple(maps(1, 1).requires_grad_() for _ in cell.state_shapes)

    def run(x: Tensor, *state: Tensor) -> Tensor:
        return cell.sequence(cell.project(x), state)[0]

    assert torch.autograd.gradcheck(run, (x, *state))
    assert torch.autograd.gradgradcheck(run, (x, *state))


@pytest.mark.parametrize("kernels", [{}, {"kernel_size": 1}, {"kernel_size": (1, 5), "recurrent_kernel_size": (3, 1)}])
def test_parameter_counts(kernels: dict[str, Any]) -> None:
    def count(cell: ConvCell) -> int:
        return sum(parameter.numel() for parameter in cell.parameters())

    cell = ConvGRUCell(2, 3, **kernels)
    (ky, kx), (ry, rx) = cell.kernel_size, cell.recurrent_kernel_size
    per_row = 2 * ky * kx + 3 * ry * rx + 1
    assert count(cell) == 3 * 3 * per_row
    assert count(ConvLSTMCell(2, 3, **kernels)) == 4 * 3 * per_row
    assert count(ConvLSTMCell(2, 3, peephole=EXTENT, **kernels)) == 4 * 3 * per_row + 3 * 3 * 4 * 5


def test_a_pixel_moves_as_far_as_the_recurrent_kernel() -> None:
    """After t steps a change in one corner has come t * (Ry // 2) rows far, and no row further."""
    torch.manual_seed(0)
    cell = ConvGRUCell(1, 2, kernel_size=1, recurrent_kernel_size=3).double()  # the last row moves by less than 1e-7
    x = torch.zeros(3, 1, 1, 7, 1, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0, 0, 0, 0] = 1
    outputs = [cell.sequence(cell.project(one), cell.initial(1, (7, 1)))[0] for one in (x, changed)]
    rows = (outputs[0] != outputs[1]).any(2).squeeze((1, 3)).sum(1)
    # A GRU's candidate reads the neighbours through r, which has read its own neighbours: two rows per step.
    assert rows.tolist() == [1, 3, 5]


@pytest.mark.parametrize("name", ["convlstm", "convgru"])
def test_forget_initialisation_and_hidden_mask(name: str) -> None:
    network = Recurrent(name, 2, 3, init="forget:5", variational=(0.0, 0.0, 0.5), weight_drop=0.5, zoneout=0.1)
    bias: Any = network.cells[0].bias_ih
    assert bias.chunk(4 if name == "convlstm" else 3)[1].tolist() == [5.0] * 3
    output, _ = network(maps(4, 2, 2).float())
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"recurrent_kernel_size": (3, 4)}, r"recurrent_kernel_size must be odd, got \(3, 4\)"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be one number or two \(Y, X\), got \(3, 3, 3\)"),
        ({"kernel_size": 0}, "kernel_size must be a positive whole number, got 0"),
        ({"kernel_size": 3.0}, "kernel_size must be a positive whole number, got 3.0"),
        ({"peephole": (0, 1)}, "peephole must be a positive whole number, got 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvLSTMCell(2, 3, **options)


def test_maps_of_another_extent_than_the_peepholes() -> None:
    network = Recurrent("convlstm", 2, 3, peephole=(4, 5))
    with pytest.raises(ValueError, match=r"with the peepholes' extent \(Y, X\) = \(4, 5\), got \(1, 1\)"):
        network(torch.zeros(3, 1, 2, 1, 1))


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be \[T, B, D, Y, X\] with D = 2, got \[3, 1, 2\]"):
        Recurrent("convgru", 2, 3)(torch.zeros(3, 1, 2))


@any_cell
def test_every_law_holds_with_options(make: Any) -> None:
    check_cell(make, 2, 2, extent=EXTENT, trials=1)
