"""Lazy sign bits and modes of torch, and changes between a call and its backward pass."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unroll
from unroll.recurrence import Recurrent, state
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.cpu import native


def pair(kind: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(3)
    theirs = getattr(nn, kind)(*args, **options)
    ours = getattr(unroll, kind)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def negated(x: Tensor) -> Tensor:
    """-x, of which the memory holds x."""
    view: Tensor = torch._neg_view(x)  # as z.conj().imag, but contiguous
    return view


def results(module: nn.Module, *given: Any) -> list[Tensor]:
    made = module(*given)
    return list(state.tensors(made)) if isinstance(made, tuple | list) else [made]


def followed(module: nn.Module, x: Tensor, d_out: Callable[[Tensor], Tensor]) -> list[Tensor]:
    x = x.detach().requires_grad_()
    output = results(module, negated(x))[0]
    return [output, *torch.autograd.grad(output, [x, *module.parameters()], d_out(torch.ones_like(output)))]


def same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    for a, b in zip(ours, theirs, strict=True):
        slack = tolerance * max(1.0, float(b.detach().abs().max()) if b.numel() else 0.0)
        torch.testing.assert_close(a, b, atol=slack, rtol=tolerance)


@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_sign_that_is_only_noted_is_no_other_number(kind: str, steps: int) -> None:
    theirs, ours = pair(kind, 24, 24)
    x = torch.randn(steps, 40, 24)
    same(followed(ours, x, negated), followed(theirs, x, negated))
    for module in (theirs, ours):
        for name, weight in list(module.named_parameters()):
            module.register_parameter(name, nn.Parameter(negated(weight.detach())))
    with torch.no_grad():
        same(results(ours, x), results(theirs, x))


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_sign_that_is_only_noted_is_no_other_number_in_a_cell(kind: str) -> None:
    theirs, ours = pair(kind, 64, 64)
    x, hidden = torch.randn(40, 64), negated(torch.randn(40, 64))
    given = (hidden, hidden) if kind == "LSTMCell" else hidden
    with torch.no_grad():
        same(results(ours, negated(x), given), results(theirs, negated(x), given))


@pytest.mark.parametrize("cell", ["gru", "layernorm-lstm", "rglru"])
def test_a_sign_that_is_only_noted_is_no_other_number_to_any_cell(cell: str) -> None:
    ours = Recurrent(cell, 8, 144)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    x = torch.randn(12, 40, 8)
    same(followed(ours, x, negated), followed(theirs, x, negated), 1e-3)
    with torch.no_grad():
        same(list(state.tensors(ours.step(negated(x[0])))), list(state.tensors(theirs.step(negated(x[0])))))


def test_an_address_of_negated_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="a lazily negated view"):
        native.address(negated(torch.ones(3)))


@pytest.mark.parametrize(
    "make", [lambda: unroll.LSTM(3, 4), lambda: unroll.GRU(3, 4), lambda: Recurrent("rglru", 3, 4)]
)
def test_gradients_switched_on_in_inference_mode_are_none(make: Callable[[], nn.Module]) -> None:
    module, x = make(), torch.randn(5, 2, 3)
    with torch.no_grad():
        wanted = results(module, x)
    with torch.inference_mode(), torch.enable_grad():
        got = results(module, x)
    assert not any(tensor.requires_grad for tensor in got)
    same(got, wanted)


@pytest.mark.parametrize("cell", ["gru", "layernorm-lstm", "rglru"])
@pytest.mark.parametrize(("rows", "lengths"), [(0, None), (2, [0, 0])])
def test_nothing_to_compute_can_be_differentiated(cell: str, rows: int, lengths: list[int] | None) -> None:
    network, x = Recurrent(cell, 3, 4), torch.randn(5, rows, 3, requires_grad=True)
    output, _ = network(x, lengths=None if lengths is None else torch.tensor(lengths))
    output.sum().backward()
    assert output.shape == (5, rows, 4)
    assert x.grad is not None
    assert not x.grad.any()


def test_torchs_mode_and_its_biases_are_what_they_are_now() -> None:
    theirs, ours = pair("RNN", 6, 7)
    x = torch.randn(5, 3, 6)
    for module in (theirs, ours):
        module(x)
        module.mode = "RNN_RELU"
    same(results(ours, x), results(theirs, x))
    theirs, ours = pair("GRUCell", 6, 7)
    theirs.bias = ours.bias = False  # which torch's forward does not read
    with torch.no_grad():
        same(results(ours, x[0]), results(theirs, x[0]))
    theirs, ours = pair("RNNCell", 6, 7)
    for module in (theirs, ours):
        module.nonlinearity = "step"
        with pytest.raises(RuntimeError, match="Unknown nonlinearity: step"):
            module(x[0])


class Leaky(Cell):
    """h' = rate * h + tanh(W x + U h), of a rate that may be set."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.rate = 0.5
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / 3)
        self.weight_hh = nn.Parameter(torch.randn(hidden_size, hidden_size) / 3)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = self.rate * state[0] + torch.tanh(u + F.linear(state[0], self.weight_hh))
        return h, (h,)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_onnx_takes_a_drop_in_by_itself(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(getattr(unroll, kind)(3, 4), (torch.randn(5, 2, 3),), file := io.BytesIO(), dynamo=False)
    assert file.getvalue()


def _faster(network: Recurrent) -> None:
    for cell in network.cells:
        cell.rate = 0.9


def _others(network: Recurrent) -> None:
    for cell in network.cells:
        for name, weight in list(cell.named_parameters()):
            if "." not in name:
                setattr(cell, name, nn.Parameter(weight.detach() * 0.5))


@pytest.mark.parametrize(("cell", "change"), [(Leaky, _faster), (Leaky, _others), ("rglru", _others)])
@pytest.mark.parametrize("backend", ["fused", "auto"])
def test_second_derivatives_are_of_the_cell_that_was_called(
    cell: Any, change: Callable[[Recurrent], None], backend: str
) -> None:
    torch.manual_seed(3)
    ours = Recurrent(cell, 3, 4, backend=backend)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    x = torch.randn(6, 2, 3)
    found = []
    for network in (ours, theirs):
        given, leaves = x.clone().requires_grad_(), list(network.parameters())
        output, _ = network(given)
        change(network)
        (slope,) = torch.autograd.grad(output.square().sum(), given, create_graph=True)
        found.append([slope, *torch.autograd.grad(slope.square().sum(), [given, *leaves], allow_unused=True)])
    same(*([one for one in each if one is not None] for each in found), 1e-4)  # type: ignore[arg-type]
