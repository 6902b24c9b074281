"""The gradients of a single step against the loop over `step` and against torch.nn, however they are requested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unroll
from tests.unroll.recurrence.test_one_step import pair, threads
from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import native

__all__ = ["threads"]
pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


@pytest.mark.parametrize(
    ("cell", "options"), [("lstm", {}), ("gru", {}), ("elman", {}), ("elman", {"f": "relu"})], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_through_steps_are_the_loop_s(cell: str, options: dict[str, Any], bias: bool) -> None:
    found = []
    for network in pair(cell, bias=bias, **options):
        torch.manual_seed(2)
        x, state, total = torch.randn(3, 4, 5, requires_grad=True), None, torch.tensor(0.0)
        for x_t in x:
            output, state = network.step(x_t, state)
            total = total + (output * torch.arange(37).sin()).sum()
        total = total + sum(tensor.square().sum() for tensor in state)
        found.append(torch.autograd.grad(total, [x, *network.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert network.ran == "eager"


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize(
    ("rows", "width", "hidden"), [(1, 64, 64), (3, 17, 50), (9, 5, 37), (24, 50, 33), (40, 33, 17)]
)
def test_gradients_of_any_size(cell: str, rows: int, width: int, hidden: int, threads: int) -> None:
    found = []
    for network in pair(cell, width, hidden, 3):
        torch.manual_seed(3)
        x = torch.randn(rows, width, requires_grad=True)
        given = [torch.randn(3, rows, hidden, requires_grad=True) for _ in network.initial(1)]
        output, after = network.step(x, tuple(given))
        total = (output * output.detach().cos()).sum() + sum((t * t.detach().sin()).sum() for t in after)
        found.append(torch.autograd.grad(total, [x, *given, *network.parameters()]))
        assert network.ran in ("fused", "eager")
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def wishes() -> dict[str, Callable[..., Any]]:
    """What may be asked of a step's graph: (output, states after, x, states before, network) -> gradients."""

    def of(total: Tensor, *inputs: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return torch.autograd.grad(total, inputs, **options)

    def twice(output: Tensor, after: Any, x: Tensor, given: Any, network: Recurrent) -> Any:
        first = of(output.square().sum() + after[-1].sum(), x, *given, create_graph=True)
        return of(sum(one.square().sum() for one in first), x, *given, *network.parameters(), allow_unused=True)

    def batched(output: Tensor, after: Any, x: Tensor, given: Any, network: Recurrent) -> Any:
        many = torch.eye(output.numel())[:4].view(4, *output.shape)
        return torch.autograd.grad(output, [x, *given], many, is_grads_batched=True)

    def retained(output: Tensor, after: Any, x: Tensor, given: Any, network: Recurrent) -> Any:
        total = output.square().sum()
        return of(total, x, *given, retain_graph=True) + of(total, x, *given)

    return {
        "twice": twice, "batched": batched, "retained": retained,
        "x alone": lambda output, after, x, given, network: of(output.sum(), x),
        "a state alone": lambda output, after, x, given, network: of(after[-1].square().sum(), given[-1]),
        "a bias alone": lambda output, after, x, given, network: of(output.square().sum(), network.cells[0].bias_hh),
    }  # fmt: skip


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize("wish", wishes().values(), ids=wishes())
def test_whatever_is_asked_of_the_graph_of_a_step(cell: str, wish: Callable[..., Any]) -> None:
    found = []
    for network in pair(cell):
        torch.manual_seed(3)
        x = torch.randn(3, 5, requires_grad=True)
        given = tuple(torch.randn(2, 3, 37, requires_grad=True) for _ in network.initial(1))
        found.append(wish(*network.step(x, given), x, given, network))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_one_tensor_in_two_places_is_told_apart_in_a_second_derivative() -> None:
    found = []
    for network in pair("lstm", 37, layers=1):
        x = torch.linspace(-1, 1, 3 * 37).view(3, 37).requires_grad_()
        output, _ = network.step(x, (x.unsqueeze(0), x.unsqueeze(0)))
        [first] = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), x)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_weight_that_is_written_over_before_the_backward_step_is_noticed() -> None:
    network, _ = pair("gru")
    output, _ = network.step(torch.randn(3, 5))
    with torch.no_grad():
        network.cells[0].weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_a_drop_in_cell_are_torch_s(kind: str, bias: bool) -> None:
    theirs, ours = getattr(nn, kind)(6, 9, bias=bias), getattr(unroll, kind)(6, 9, bias=bias)
    ours.load_state_dict(theirs.state_dict())
    x, hidden = torch.randn(4, 6, requires_grad=True), torch.randn(4, 9, requires_grad=True)
    found = []
    for module in (ours, theirs):
        after = module(x, (hidden, hidden) if kind == "LSTMCell" else hidden)
        total = sum((t * t.detach().cos()).sum() for t in (after if kind == "LSTMCell" else [after]))
        first = torch.autograd.grad(total, [x, hidden, *module.parameters()], create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first[:2]), [x, hidden])
        found.append([*first, *second])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bias": False}], ids=str)
def test_whatever_is_asked_of_the_graph_of_a_drop_in_layer(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = getattr(nn, kind)(5, 7, **options), getattr(unroll, kind)(5, 7, **options)
    ours.load_state_dict(theirs.state_dict())
    x, hidden = torch.randn(1, 3, 5, requires_grad=True), torch.randn(ours.num_layers, 3, 7, requires_grad=True)
    found = []
    for module in (ours, theirs):

        def run(module: nn.Module = module) -> tuple[Tensor, ...]:
            output, after = module(x, (hidden, hidden.cos()) if kind == "LSTM" else hidden)
            return output, *(after if kind == "LSTM" else [after])

        leaves = [x, hidden, *module.parameters()]
        total = sum((tensor * tensor).sum() for tensor in run())
        first = torch.autograd.grad(total, leaves, create_graph=True)
        second = torch.autograd.grad(
            sum(one.square().sum() for one in first), leaves, allow_unused=True, materialize_grads=True
        )
        batched = torch.autograd.grad(run()[0], [x, hidden], torch.eye(21)[:4].view(4, 1, 3, 7), is_grads_batched=True)
        doubled = {name: 2 * weight for name, weight in module.named_parameters()}
        given = (hidden, hidden.cos()) if kind == "LSTM" else hidden
        found.append([*first, *second, *batched, torch.func.functional_call(module, doubled, (x, given))[0]])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-4)
    for weight in ours.parameters():
        weight.requires_grad_(False)
    assert ours(x)[0].requires_grad
    assert not ours(x.detach())[0].requires_grad
