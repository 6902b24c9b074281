"""How layers are combined, what options mean, and errors for bad input."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent, state
from unroll.recurrence.conformance import Trial, agree
from unroll.recurrence.kernels import torch_kernels
from unroll.recurrence.row_mask import RowMask


@pytest.fixture
def network() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent("lstm", 3, 4, 2)


X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


def test_the_state_is_stacked_with_the_batch_second(network: Recurrent) -> None:
    output, after = network(X)
    assert output.shape == (5, 2, network.output_size) == (5, 2, 4)
    assert [tensor.shape for tensor in after] == [(2, 2, 4), (2, 2, 4)]
    assert [tensor.shape for tensor in network.initial(7)] == [(2, 7, 4), (2, 7, 4)]
    torch.testing.assert_close(after[0][-1], output[-1])


def test_layers_that_differ_have_a_state_per_layer() -> None:
    network = Recurrent("lstm", 3, (4, 6), bidirectional=True)
    output, after = network(X)
    assert output.shape == (5, 2, 12)
    assert [[tensor.shape for tensor in layer] for layer in after] == [[(2, 2, 4)] * 2, [(2, 2, 6)] * 2]
    assert state.select(after, torch.tensor([1]))[1][0].shape == (2, 1, 6)


def test_residual_adds_the_input_from_the_second_layer_on() -> None:
    network = Recurrent("gru", 3, 4, 2, residual=True)
    first = Recurrent(lambda *_: network.cells[0], 3, 4)(X)[0]
    second = Recurrent(lambda *_: network.cells[1], 4, 4)(first)[0]
    torch.testing.assert_close(network(X)[0], first + second)


def test_skip_shows_the_input_to_every_layer() -> None:
    network = Recurrent("gru", 3, 4, 3, skip=True)
    assert [cell.input_size for cell in network.cells] == [3, 7, 7]
    below = Recurrent(lambda *_: network.cells[0], 3, 4)(X)[0]
    for cell in network.cells[1:]:
        below = Recurrent(lambda *_, cell=cell: cell, 7, 4)(torch.cat([below, X], 2))[0]
    torch.testing.assert_close(network(X)[0], below)


def test_a_learned_initial_state_is_trained_and_used_after_resets() -> None:
    network = Recurrent("lstm", 3, 4, 2, learn_initial=True)
    with torch.no_grad():
        for parameter in network.learned.values():
            parameter.uniform_(-1, 1)
    assert sorted(network.learned) == ["cell_0", "cell_1", "hidden_0", "hidden_1"]
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[2] = True
    output, _ = network(X, reset=reset)
    torch.testing.assert_close(output[2:], network(X[2:])[0])
    output.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.learned.values())
    torch.testing.assert_close(network.initial(3)[1][1], network.learned["cell_1"].expand(3, 4))


def test_the_stabiliser_is_never_learned() -> None:
    assert sorted(Recurrent("slstm", 3, 4, learn_initial=True).learned) == ["cell_0", "hidden_0"]


def test_all_rows_empty(network: Recurrent) -> None:
    before = network(X)[1]
    output, after = network(X, before, lengths=torch.tensor([0, 0]))
    assert output.count_nonzero() == 0
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_no_rows_at_all(network: Recurrent) -> None:
    for backend in ("auto", "eager"):
        network.backend = backend
        output, after = network(torch.zeros(5, 0, 3))
        assert output.shape == (5, 0, 4)
        assert after[0].shape == (2, 0, 4)


def test_a_row_that_explodes_in_its_padding_does_not_poison_the_others() -> None:
    network = Recurrent("elman", 1, 2, f="relu", backend="eager")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e3)
    x = torch.ones(60, 2, 1)
    output, _ = network(x * 1e-3, lengths=torch.tensor([2, 1]))
    output.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_torchs_kernels_are_called_once_per_layer_and_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    kernel = torch_kernels._kernel
    monkeypatch.setattr(torch_kernels, "_kernel", lambda *a: calls.append(1) or kernel(*a))
    network = Recurrent("lstm", 3, 4, 2, backend="torch")
    network(X)
    assert len(calls) == 2, "one call per layer"
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[0, 1] = reset[3, 0] = True
    network(X, reset=reset)
    assert len(calls) == 2 + 4, "one call per layer and stretch between resets"


def test_a_subclass_with_its_own_step_is_not_served_by_the_kernel_of_its_parent() -> None:
    from unroll.recurrence.cells import GRUCell

    class Frozen(GRUCell):
        def step(self, u: Tensor, state: Any, mask: Tensor | None = None) -> Any:
            return state[0], state

    before = torch.randn(1, 2, 4)
    assert torch.equal(Recurrent(Frozen, 3, 4)(X, (before,))[1][0], before)


def test_weights_move_and_copy(network: Recurrent) -> None:
    double = copy.deepcopy(network).double()
    torch.testing.assert_close(double(X.double())[0].float(), network(X)[0])
    with torch.autocast("cpu", torch.bfloat16):
        output, after = network(X)
        network(X, after, lengths=torch.tensor([5, 2]), reset=torch.zeros(5, 2, dtype=torch.bool))
    torch.testing.assert_close(output.float(), network(X)[0], atol=0.02, rtol=0.02)


def test_autocast_in_the_loop() -> None:
    network = Recurrent("layernorm-lstm", 3, 4, zoneout=0.1).eval()
    with torch.autocast("cpu", torch.bfloat16):
        output, after = network(X, lengths=torch.tensor([5, 2]))
        network(X, after)
    torch.testing.assert_close(output.float(), network(X, lengths=torch.tensor([5, 2]))[0], atol=0.02, rtol=0.02)


def test_lengths_of_other_integer_types_and_sequences_do(network: Recurrent) -> None:
    wanted = network(X, lengths=torch.tensor([5, 2]))[0]
    for lengths in ([5, 2], (5, 2), [torch.tensor(5), 2], range(5, 0, -3)):
        assert torch.equal(network(X, lengths=lengths)[0], wanted)
    assert torch.equal(network(X, lengths=torch.tensor([5, 2], dtype=torch.int16))[0], wanted)


def test_a_list_state_is_as_good_as_a_tuple(network: Recurrent) -> None:
    before = network(X)[1]
    assert torch.equal(network(X, list(before))[0], network(X, before)[0])


def test_batch_first_is_the_transposed_call(network: Recurrent) -> None:
    turned = Recurrent("lstm", 3, 4, layers=2, batch_first=True)
    turned.load_state_dict(network.state_dict())
    reset = torch.zeros(5, 2, dtype=torch.bool)
    reset[2, 1] = True
    output, after = network(X, lengths=[5, 3], reset=reset)
    flipped, same = turned(X.transpose(0, 1), lengths=[5, 3], reset=reset)
    assert torch.equal(flipped, output.transpose(0, 1))
    for a, b in zip(turned(X.transpose(0, 1), same)[1], network(X, after)[1], strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"x must be \[B, T, D\] with D = 3, got \[2, 5, 4\]"):
        turned(torch.zeros(2, 5, 4))
    assert "batch_first=True" in repr(turned) and "batch_first" not in repr(network)


def test_an_infinite_state_is_a_state(network: Recurrent) -> None:
    hidden = torch.zeros(2, 2, 4)
    hidden[0, 0, 0], hidden[0, 0, 1] = torch.inf, -torch.inf
    network(X, (hidden, hidden))
    hidden[1, 1, 1] = torch.nan
    with pytest.raises(ValueError, match=r"state\[0\] holds NaN"):
        network(X, (hidden, hidden))


def test_flipping_twice_changes_nothing() -> None:
    row_mask = RowMask.of(X, torch.tensor([3, 5]), None)
    assert torch.equal(row_mask.flip(row_mask.flip(X)), X)
    assert torch.equal(row_mask.flip(X)[:3, 0], X[:3, 0].flip(0))


def test_agree_finds_a_difference(network: Recurrent) -> None:
    with pytest.raises(AssertionError, match="not close"):
        agree(network.double(), Trial(2, (2,)), network, lambda x, before: network(x * 1.001, before))


NAN = torch.full((2, 2, 4), torch.nan)
ZERO = torch.zeros(2, 2, 4)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": [1.0]}, TypeError, "x must be a tensor [T, B, D], got list"),
    ({"x": X[0]}, ValueError, "x must be [T, B, D] with D = 3, got [2, 3]"),
    ({"x": X.transpose(1, 2)}, ValueError, "x must be [T, B, D] with D = 3, got [5, 3, 2]"),
    ({"x": X[:0]}, ValueError, "x must be [T, B, D] with T of at least 1, got [0, 2, 3]"),
    ({"x": X.double()}, TypeError, "x must be torch.float32, as the parameters are, got torch.float64"),
    ({"x": X.long()}, TypeError, "x must be torch.float32, as the parameters are, got torch.int64"),
    ({"x": X.to("meta")}, ValueError, "x must be on cpu, where the parameters are, got meta"),
    ({"lengths": [5, 2.0]}, TypeError, "lengths must be a tensor or a sequence of whole numbers [B], got 2.0 in it"),
    ({"lengths": [5, True]}, TypeError, "sequence of whole numbers [B], got True in it"),
    ({"lengths": (5, 2, 1)}, ValueError, "lengths must be [B] with B = 2, got [3]"),
    ({"lengths": "52"}, TypeError, "lengths must be a tensor or a sequence of whole numbers [B], got str"),
    (
        {"lengths": torch.tensor([5.0, 2.0])},
        TypeError,
        "lengths must be a tensor or a sequence of whole numbers [B], got torch.float32",
    ),
    ({"lengths": torch.tensor([True, False])}, TypeError, "whole numbers [B], got torch.bool"),
    ({"lengths": torch.tensor([5, 2, 1])}, ValueError, "lengths must be [B] with B = 2, got [3]"),
    ({"lengths": torch.tensor([[5, 2]])}, ValueError, "lengths must be [B] with B = 2, got [1, 2]"),
    ({"lengths": torch.tensor([5, 6])}, ValueError, "lengths must be from 0 to T = 5, got 6 in row 1"),
    ({"lengths": torch.tensor([-1, 6])}, ValueError, "lengths must be from 0 to T = 5, got -1 in row 0"),
    ({"reset": torch.zeros(5, 2)}, TypeError, "reset must be a bool tensor [T, B], got torch.float32"),
    ({"reset": True}, TypeError, "reset must be a bool tensor [T, B], got bool"),
    ({"reset": torch.zeros(2, 5).bool()}, ValueError, "reset must be [T, B] = [5, 2], got [2, 5]"),
    ({"state": ZERO}, TypeError, "state must be a tuple of 2, as `initial` makes it, got Tensor"),
    ({"state": (ZERO,)}, ValueError, "state must be a tuple of 2, as `initial` makes it, got 1"),
    ({"state": (ZERO, None)}, TypeError, "state[1] must be a tensor [2, 2, 4], got NoneType"),
    (
        {"state": (ZERO, ZERO[:1])},
        ValueError,
        "state[1] must be [layers x directions, B, ...] = [2, 2, 4] for this model",
    ),
    ({"state": (ZERO[:, :1], ZERO)}, ValueError, "got [2, 1, 4]; is it the state of another model or batch?"),
    ({"state": (ZERO, ZERO.double())}, TypeError, "state[1] must be torch.float32"),
    ({"state": (ZERO, ZERO.to("meta"))}, ValueError, "state[1] must be on cpu"),
    ({"state": (ZERO, NAN)}, ValueError, "state[1] holds NaN"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_bad_input_is_named(network: Recurrent, arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        network(**({"x": X} | arguments))
    assert message in str(caught.value)


def test_a_state_of_layers_that_differ_is_named_by_its_place() -> None:
    network = Recurrent("lstm", 3, (4, 6))
    layers = network.initial(2)
    with pytest.raises(ValueError, match=r"state\[1\]\[0\] must be .* = \[1, 2, 6\]"):
        network(X, (layers[0], layers[0]))


def test_step_names_its_own_trouble(network: Recurrent) -> None:
    with pytest.raises(ValueError, match=r"x must be \[T, B, D\] with D = 3, got \[1, 2, 4\]"):
        network.step(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="step needs bidirectional=False"):
        Recurrent("gru", 3, 4, bidirectional=True).step(X[0])


def test_maps_are_expected_where_the_cell_works_on_maps() -> None:
    network = Recurrent("convgru", 3, 4)
    with pytest.raises(ValueError, match=r"x must be \[T, B, D, Y, X\] with D = 3, got \[5, 2, 3\]"):
        network(X)
    assert network.initial(2, (5, 6))[0].shape == (1, 2, 4, 5, 6)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"layers": 0}, ValueError, "layers must be a positive whole number, got 0"),
        ({"hidden_size": (4, 0)}, ValueError, "hidden_size must be a positive whole number, got 0"),
        ({"hidden_size": ()}, ValueError, "hidden_size gives 0 layers"),
        ({"hidden_size": (4, 5), "layers": 3}, ValueError, "hidden_size gives 2 layers, but layers is 3"),
        ({"dropout": 1.5}, ValueError, "dropout must be a probability from 0 to 1, got 1.5"),
        ({"variational": (0.1, 0.2)}, ValueError, "one number or one each for input, between layers, hidden state"),
        ({"zoneout": (0.1, -1)}, ValueError, "zoneout (cell) must be a probability from 0 to 1, got -1"),
        ({"cell": "gru", "zoneout": (0.1, 0.1)}, ValueError, "zoneout of the cell state: gru has none"),
        ({"cell": "mingru", "weight_drop": 0.1}, ValueError, "weight_drop needs a cell with recurrent weights; mingru"),
        ({"cell": "mingru", "variational": 0.1}, ValueError, "needs a step with a mask; mingru has none"),
        ({"hidden_size": (4, 5), "residual": True}, ValueError, "residual=True needs layers of one width, got [4, 5]"),
        ({"backend": "cuda"}, ValueError, "backend must be one of auto, fused, torch, triton, scan, eager, got 'cuda'"),
        ({"init": "xavier"}, ValueError, "init must be one of orthogonal, identity, forget, chrono"),
        ({"peepholes": True}, TypeError, "unexpected keyword argument 'peepholes'"),
    ],
    ids=str,
)
def test_bad_options_are_named(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        Recurrent(**({"cell": "lstm", "input_size": 3, "hidden_size": 4} | options))
    assert message in str(caught.value)


def test_parameters_are_named_by_their_place_in_the_state() -> None:
    names = set(Recurrent("gru", 3, 4, 2, bidirectional=True).state_dict())
    assert "cells.3.weight_hh" in names
    assert not any(isinstance(module, nn.Dropout) for module in Recurrent("gru", 3, 4, 2, dropout=0.5).modules())


@pytest.mark.parametrize("cell", ["lstm", "gru", "mingru"])
def test_a_whole_sequence_is_exported_with_the_batch_free(cell: str) -> None:
    network = Recurrent(cell, 3, 4, 2, bidirectional=True).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    before = network.initial(2)
    shapes = {"x": {1: batch}, "state": tuple({1: batch} for _ in before)}
    program = torch.export.export(network, (X, before), dynamic_shapes=shapes).module()
    for rows in (1, 7):
        x, before = torch.randn(5, rows, 3), network.initial(rows)
        torch.testing.assert_close(program(x, before)[0], network(x, before)[0])


def test_gradients_per_row_by_vmap() -> None:
    network = Recurrent("lstm", 3, 4, backend="eager")  # torch has no batching rule for its kernels
    weights = dict(network.named_parameters())

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output, _ = torch.func.functional_call(network, weights, (x.unsqueeze(1),))
        return output.square().sum()

    per_row = torch.func.vmap(torch.func.grad(loss), (None, 1))(weights, X)
    together = torch.autograd.grad(network(X)[0].square().sum(), list(weights.values()))
    for name, gradient in zip(weights, together, strict=True):
        torch.testing.assert_close(per_row[name].sum(0), gradient, atol=1e-5, rtol=1e-5)
