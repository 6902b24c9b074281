"""A program that uses torch.nn's LSTM, GRU or RNN runs unchanged with ours, and gets the same numbers."""

import copy
import io
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence, unpad_sequence

import unroll
from unroll.recurrence import Recurrent, from_torch, state
from unroll.recurrence.kernels.cpu import autograd, native

KINDS = ["LSTM", "GRU", "RNN"]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bias": False},
    {"num_layers": 3, "batch_first": True, "bidirectional": True},
]
PROJECTED: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {"proj_size": 3}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
]
EVERY = [(kind, variant) for kind in KINDS for variant in VARIANTS] + PROJECTED
every = pytest.mark.parametrize(("kind", "options"), EVERY, ids=str)
# torch says so itself, for the same module with the same arguments.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def pair(kind: str, options: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[nn.RNNBase, Any]:
    """torch's module and ours with the same weights."""
    torch.manual_seed(3)
    theirs: nn.RNNBase = getattr(nn, kind)(5, 6, **options, dtype=dtype)
    ours = getattr(unroll, kind)(5, 6, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def batch(options: dict[str, Any], steps: int = 7, rows: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(7)
    return torch.randn(*((rows, steps) if options.get("batch_first") else (steps, rows)), 5, dtype=dtype)


def gradients(module: nn.Module, results: Any, x: Tensor) -> list[Tensor]:
    loss = sum((tensor * torch.arange(1, tensor.numel() + 1).view_as(tensor).sin()).sum() for tensor in results)
    return list(torch.autograd.grad(loss, [x, *module.parameters()]))


def flat(output: Any, after: Any) -> list[Tensor]:
    return [output.data if isinstance(output, PackedSequence) else output, *state.tensors(after)]


def same(theirs: Any, ours: Any, tolerance: float = 0.0) -> None:
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(b, a, atol=tolerance, rtol=tolerance)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_same_outputs_states_and_gradients(kind: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    x = batch(options, dtype=dtype).requires_grad_()
    theirs, ours = pair(kind, options, dtype)
    results = [flat(*module(x)) for module in (theirs, ours)]
    tolerance = 0.0 if dtype == torch.float64 else 1e-5  # in float32 our own kernels compute it
    same(*results, tolerance)
    same(gradients(theirs, results[0], x), gradients(ours, results[1], x), tolerance)
    carried = [flat(*module(x, module(x)[1])) for module in (theirs, ours)]
    same(*carried, tolerance)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_packed_sequences_in_and_out(kind: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    first = options.get("batch_first", False)
    x = batch(options, dtype=dtype)
    packed = pack_padded_sequence(x, torch.tensor([3, 7, 1, 5]), first, enforce_sorted=False)
    theirs, ours = pair(kind, options, dtype)
    output, after = ours(packed)
    assert isinstance(output, PackedSequence)
    same(flat(*theirs(packed)), flat(output, after), 0.0 if dtype == torch.float64 else 1e-6)
    same(flat(*theirs(packed, after)), flat(*ours(packed, after)), 0.0 if dtype == torch.float64 else 1e-6)


@every
def test_state_dicts_both_ways(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(kind, options)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    back = getattr(nn, kind)(5, 6, **options, dtype=torch.float64)
    back.load_state_dict(torch.load(file, weights_only=True))
    x = batch(options)
    same(flat(*theirs(x)), flat(*back(x)))


@pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
@every
def test_a_state_keeps_the_kernels(kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = pair(kind, options, torch.float32)
    x = batch(options, dtype=torch.float32)
    after = ours(x)[1]
    calls: list[int] = []
    apply = autograd.Kernel.apply
    monkeypatch.setattr(autograd.Kernel, "apply", lambda *args: calls.append(1) or apply(*args))
    ours(x)
    without = len(calls)
    ours(x, after)
    assert len(calls) == 2 * without > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_without_a_batch(kind: str) -> None:
    theirs, ours = pair(kind, {"num_layers": 2})
    x = batch({})[:, 0]
    same(flat(*theirs(x)), flat(*ours(x)))
    assert ours(x)[0].shape == (7, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_moves_and_prints_as_torch(kind: str) -> None:
    theirs, ours = pair(kind, {"num_layers": 2, "dropout": 0.3, "bidirectional": True})
    assert isinstance(ours, getattr(nn, kind))
    assert repr(ours) == repr(theirs)
    x = batch({}).float()
    moved = copy.deepcopy(ours).float().eval()
    same(flat(*copy.deepcopy(theirs).float().eval()(x)), flat(*moved(x)), 1e-6)
    same(flat(*moved(x)), flat(*copy.deepcopy(moved)(x)))
    assert next(ours.parameters()).dtype == torch.float64
    assert next(ours.to("meta").parameters()).device.type == "meta"


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_draws_as_torch(kind: str) -> None:
    theirs, ours = pair(kind, {"num_layers": 2, "dropout": 0.5})
    results = []
    for module in (theirs, ours):
        torch.manual_seed(1)
        results.append(flat(*module(batch({}))))
    same(*results)
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        getattr(unroll, kind)(5, 6, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_as_torch(kind: str) -> None:
    theirs, ours = pair(kind, {}, torch.float32)
    x = batch({}, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, got = flat(*theirs(x)), flat(*ours(x))
        network = from_torch(theirs)
        _, after = network(x)
        network(x, after, lengths=torch.tensor([7, 0, 3, 5]))
    same(expected, got)
    same([tensor.float() for tensor in expected[:1]], [network(x)[0]], 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward(kind: str) -> None:
    _, ours = pair(kind, {})
    x = batch({}, 2, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: ours(x)[0], (x,), fast_mode=True)


@every
@settings(max_examples=10)
@given(data=st.data())
def test_recurrent_with_torch_weights_is_torch(kind: str, options: dict[str, Any], data: st.DataObject) -> None:
    """Lengths here are packing there: outputs, states and gradients of the same weights."""
    options = options | {"batch_first": False}
    steps = data.draw(st.integers(1, 6))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, steps), min_size=1, max_size=4)))
    theirs, ours = pair(kind, options)
    x = batch({}, steps, len(lengths)).requires_grad_()
    packed, after = theirs(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded = pad_packed_sequence(packed, total_length=steps)[0]
    expected = [padded, *state.tensors(after)]
    to_x, *to_weights = gradients(theirs, expected, x)
    network = from_torch(theirs)
    for run in (network, lambda x, lengths: ours(x, lengths=lengths)):
        got = flat(*run(x, lengths=lengths))
        same(expected, got, 1e-10)
        module = network if run is network else ours
        same([to_x, *to_weights], gradients(module, got, x), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [False, True])
def test_lengths_and_resets_on_top(kind: str, first: bool) -> None:
    _, ours = pair(kind, {"batch_first": first, "num_layers": 2})
    x = batch({"batch_first": first})
    lengths = torch.tensor([7, 0, 4, 2])
    reset = torch.zeros(7, 4, dtype=torch.bool)
    reset[3, 0] = True
    _, before = ours(x)
    output, after = ours(x, before, lengths=lengths, reset=reset)
    by_time = output.transpose(0, 1) if first else output
    alone, last = ours(x[:1, 3:] if first else x[3:, :1])
    torch.testing.assert_close(by_time[3:, :1], alone.transpose(0, 1) if first else alone)
    for a, b, old in zip(*map(state.tensors, (after, last, before)), strict=True):
        torch.testing.assert_close(a[:, :1], b)
        torch.testing.assert_close(a[:, 1], old[:, 1])
    assert isinstance(after, tuple) == (kind == "LSTM")


def test_training_dropout_goes_along_with_lengths() -> None:
    module = unroll.LSTM(5, 6, 2, dropout=1.0)
    quiet = unroll.LSTM(5, 6, 2, dropout=1.0).eval()
    quiet.load_state_dict(module.state_dict())
    x, lengths = batch({}).float(), torch.tensor([7, 0, 4, 2])
    assert not torch.equal(module(x, lengths=lengths)[0], quiet(x, lengths=lengths)[0])
    torch.testing.assert_close(module(x)[0][:, 0], module(x, lengths=lengths)[0][:, 0])


def test_bad_use_of_lengths_is_named() -> None:
    module = unroll.GRU(5, 6)
    packed = pack_padded_sequence(batch({}).float(), torch.tensor([7, 3, 2, 1]))
    with pytest.raises(TypeError, match="padded batch \\[T, B, D\\], got a PackedSequence"):
        module(packed, lengths=torch.tensor([1, 1, 1, 1]))
    with pytest.raises(ValueError, match="need a batch \\[T, B, D\\], got \\[7, 5\\]"):
        module(torch.zeros(7, 5), lengths=torch.tensor([1]))
    with pytest.raises(ValueError, match="lengths must be from 0 to T = 7, got 8 in row 0"):
        module(torch.zeros(7, 1, 5), lengths=torch.tensor([8]))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 6\), got \[1, 3, 6\]"):
        module(torch.zeros(7, 2, 5), torch.zeros(1, 3, 6), lengths=torch.tensor([1, 1]))


ARGUMENTS: list[tuple[str, tuple[int, ...], list[tuple[int, ...]], str]] = [
    ("features of the input", (5, 3, 9), [(4, 3, 6)], "input.size"),
    ("units of the state", (5, 3, 5), [(4, 3, 7)], "Expected hidden"),
    ("rows of the state", (5, 3, 5), [(4, 2, 6)], "Expected hidden"),
    ("layers of the state", (5, 3, 5), [(3, 3, 6)], "Expected hidden"),
    ("a state without rows", (5, 3, 5), [(4, 6)], "D"),
    ("the cell state", (5, 3, 5), [(4, 3, 6), (4, 2, 6)], "Expected hidden"),
    ("dimensions of the input", (1, 5, 3, 5), [(4, 3, 6)], "2D or 3D"),
]


@pytest.mark.parametrize(("what", "x", "states", "message"), ARGUMENTS, ids=[row[0] for row in ARGUMENTS])
@pytest.mark.parametrize("kind", KINDS)
def test_what_torch_refuses_is_refused_alike(
    kind: str, what: str, x: tuple[int, ...], states: list[tuple[int, ...]], message: str
) -> None:
    """The content of PyTorch's own test_rnn_args_check."""
    theirs, ours = pair(kind, {"num_layers": 2, "bidirectional": True}, torch.float32)
    parts = [torch.zeros(size) for size in (states * 2 if kind == "LSTM" and len(states) == 1 else states)]
    hx = tuple(parts[:2]) if kind == "LSTM" else parts[-1]
    caught = []
    for module in (theirs, ours):
        with pytest.raises((RuntimeError, ValueError), match=message) as error:
            module(torch.zeros(x), hx)
        caught.append((error.type, str(error.value)))
    assert caught[0] == caught[1]


def test_states_of_a_projection_are_checked_by_torch() -> None:
    """The content of PyTorch's own test_projections_lstm_args_check."""
    theirs, ours = pair("LSTM", {"proj_size": 3}, torch.float32)
    sizes = [((1, 4, 6), (1, 4, 6)), ((1, 4, 3), (1, 4, 3)), ((1, 2, 3), (1, 4, 6)), ((2, 4, 3), (2, 4, 6))]
    for hidden, cell in sizes:
        caught = []
        for module in (theirs, ours):
            with pytest.raises(RuntimeError, match="Expected hidden") as error:
                module(torch.zeros(7, 4, 5), (torch.zeros(hidden), torch.zeros(cell)))
            caught.append(str(error.value))
        assert caught[0] == caught[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_state_that_is_no_number_is_carried_on(kind: str, value: float) -> None:
    theirs, ours = pair(kind, {}, torch.float32)
    hidden = torch.zeros(1, 4, 6)
    hidden[0, 1, 2], hidden[0, 1, 3] = value, -value
    hx = (hidden, hidden) if kind == "LSTM" else hidden
    x = batch({}, dtype=torch.float32)
    for run in (ours, lambda x, hx: ours(x, hx, lengths=[7, 6, 7, 7])):
        for a, b in zip(flat(*theirs(x, hx)), flat(*run(x, hx)), strict=True):
            torch.testing.assert_close(b[:, [0, 2, 3]], a[:, [0, 2, 3]])
            assert not math.isnan(value) or torch.equal(a[:6, 1].isnan(), b[:6, 1].isnan())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_put_in_the_place_of_others_are_used(kind: str) -> None:
    theirs, ours = pair(kind, {"num_layers": 2}, torch.float32)
    x = batch({}, dtype=torch.float32)
    ours(x)
    for module in (theirs, ours):
        module._flat_weights = [weight * 0.5 for weight in module._flat_weights]
    same(flat(*theirs(x)), flat(*ours(x)), 1e-6)
    other = torch.randn_like(ours.weight_hh_l1)
    for module in (theirs, ours):  # as a weight drop of someone else does it
        del module.weight_hh_l1
        module.weight_hh_l1 = other
    same(flat(*theirs(x)), flat(*ours(x)), 1e-6)


def test_functional_calls_see_the_weights_that_they_bring() -> None:
    module = unroll.LSTM(5, 6)
    zeros = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    arguments = (batch({}).float(),)
    output, _ = torch.func.functional_call(module, zeros, arguments, {"lengths": torch.tensor([7, 3, 2, 1])})
    assert output.abs().max() == 0


def test_a_training_program_of_someone_else_gets_the_same_losses() -> None:
    def train(library: Any) -> list[float]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"rnn": library.LSTM(5, 8, num_layers=2, batch_first=True), "head": nn.Linear(8, 1)})
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        x, lengths = torch.randn(6, 9, 5), torch.tensor([9, 7, 6, 4, 2, 1])
        losses = []
        for _ in range(10):
            output, (hidden, _) = model["rnn"](pack_padded_sequence(x, lengths, batch_first=True))
            assert len(unpad_sequence(*pad_packed_sequence(output, batch_first=True), batch_first=True)) == 6
            loss = (model["head"](hidden[-1]) - x.sum((1, 2)).unsqueeze(1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return losses

    assert train(unroll) == pytest.approx(train(nn), rel=1e-4)


def test_importing_the_core_brings_no_engine() -> None:
    engines = "{'lightning', 'mlflow', 'numpy.f2py'}"
    code = f"import sys; from unroll import LSTM; LSTM(2, 3); print({engines} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert issubclass(unroll.Recurrent, Recurrent)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        unroll.Nothing  # noqa: B018
