"""Changes between a call and its backward passes: weights, buffers, values; and weights computed from others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import unroll
from unroll.recurrence import Recurrent, state
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.cpu import native

MODIFIED = "modified by an inplace operation"
needs_kernels = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


def of_torch(kind: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    theirs, ours = getattr(nn, kind)(4, 8), getattr(unroll, kind)(4, 8)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def of_cell(cell: Any) -> tuple[Recurrent, Recurrent]:
    """The oracle, and what is held to it."""
    torch.manual_seed(3)
    ours = Recurrent(cell, 4, 8)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    return theirs, ours


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    return of_torch(kind) if kind[0].isupper() else of_cell(kind)


def results(module: nn.Module, x: Tensor) -> list[Tensor]:
    return list(state.tensors(module(x)))


def same(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance * max(1.0, float(b.detach().abs().max())), rtol=tolerance)


def changed_between(module: nn.Module, which: str, follow: bool) -> list[Tensor] | None:
    """Gradients after a weight was written into; None where that was refused."""
    torch.manual_seed(5)
    x = torch.randn(5, 3, 4, requires_grad=follow)
    made = results(module, x)
    with torch.no_grad():
        module.get_parameter(which).mul_(0.5)
    wanted = [*module.parameters(), *([x] if follow else [])]
    try:
        return list(torch.autograd.grad(made[0].sin().sum(), wanted, allow_unused=True, materialize_grads=True))
    except RuntimeError as error:
        if MODIFIED not in str(error):
            raise
        return None


KEPT = {("GRU", "bias_hh_l0"), ("gru", "cells.0.bias_hh")}
"""what ours alone refuse: their backward step reads it where torch's has kept a sum"""


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "lstm", "gru", "elman", "mingru", "minlstm", "layernorm-lstm"])
def test_a_weight_that_is_written_into_is_refused_where_the_numbers_would_be_wrong(kind: str, follow: bool) -> None:
    for name, _ in pair(kind)[0].named_parameters():
        theirs, ours = (changed_between(module, name, follow) for module in pair(kind))
        assert ours is not None or theirs is None or (kind, name) in KEPT, name
        if ours is not None:
            module = pair(kind)[0]
            x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(5), requires_grad=follow)
            wanted = [*module.parameters(), *([x] if follow else [])]
            loss = results(module, x)[0].sin().sum()
            same(ours, torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))


@needs_kernels
@pytest.mark.parametrize("again", ["a second backward pass", "a second derivative"])
def test_what_only_a_second_pass_reads_is_guarded_for_it(again: str) -> None:
    network, x = Recurrent("gru", 4, 8), torch.randn(5, 3, 4, requires_grad=True)
    output = network(x)[0].sum()
    assert network.ran == "fused"
    if again == "a second backward pass":
        torch.autograd.grad(output, x, retain_graph=True)
    with torch.no_grad():
        network.get_parameter("cells.0.bias_ih").add_(1)
    with pytest.raises(RuntimeError, match=MODIFIED):
        torch.autograd.grad(output, x, create_graph=again == "a second derivative")


class Whitened(Cell):
    """An input side that is no single product, and holds what may change: statistics, a generator, a number."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / 3)
        self.weight_hh = nn.Parameter(torch.randn(hidden_size, hidden_size) / 3)
        self.norm = nn.BatchNorm1d(input_size)
        self.register_buffer("scale", torch.tensor(1.0))
        self.calls = 0
        self.rates = [0.5]

    def project(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = F.dropout(self.norm(x.flatten(0, 1)).view(x.shape), 0.25, self.training)
        return F.linear(x * self.scale, self.weight_ih)  # type: ignore[operator]

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = self.rates[0] * state[0] + torch.tanh(u + F.linear(state[0], self.weight_hh))
        return h, (h,)


def _replaced(cell: Any) -> None:
    cell.scale = torch.tensor(3.0)


def _evaluated(cell: Any) -> None:
    cell.eval()


@needs_kernels
@pytest.mark.parametrize("change", [_replaced, _evaluated])
@pytest.mark.parametrize("again", ["a second backward pass", "a second derivative", "both"])
def test_a_second_pass_is_of_the_buffers_that_were_there(change: Callable[[Any], None], again: str) -> None:
    found = []
    for network in of_cell(Whitened):
        torch.manual_seed(7)
        x = torch.randn(6, 3, 4, requires_grad=True)
        output, _ = network(x)
        change(network.cells[0])
        leaves, slopes = [x, *network.parameters()], []
        if again != "a second derivative":
            torch.autograd.grad(output.sin().sum(), leaves, retain_graph=True)
            slopes = list(torch.autograd.grad(output.sin().sum(), leaves, retain_graph=True))
        if again != "a second backward pass":
            (slope,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
            slopes += [
                slope,
                *torch.autograd.grad(slope.sin().sum(), leaves, allow_unused=True, materialize_grads=True),
            ]
        cell: Any = network.cells[0]
        found.append([output, *slopes, cell.norm.running_mean, torch.tensor(float(cell.calls)), torch.rand(1)])
    same(found[1], found[0])


@needs_kernels
def test_a_buffer_that_is_written_into_is_refused() -> None:
    for network in of_cell(Whitened):
        x = torch.randn(6, 3, 4, requires_grad=True)
        output, _ = network(x)
        network.cells[0].scale.mul_(2)  # type: ignore[operator, union-attr]
        with pytest.raises(RuntimeError, match=MODIFIED):
            torch.autograd.grad(output.sum(), x)


@needs_kernels
def test_a_second_derivative_of_a_step_that_has_changed_is_refused() -> None:
    network, x = of_cell(Whitened)[1], torch.randn(6, 3, 4, requires_grad=True)
    output, _ = network(x)
    network.cells[0].rates[0] = 0.9  # type: ignore[operator, index, union-attr]
    torch.autograd.grad(output.sum(), x, retain_graph=True)
    with pytest.raises(RuntimeError, match="Whitened was changed between forward and backward: rates"):
        torch.autograd.grad(output.sum(), x, create_graph=True)


class Half(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def _parametrized(cell: Any, name: str) -> None:
    nn.utils.parametrize.register_parametrization(cell, name, Half())


MAKERS: dict[str, Callable[[Any, str], Any]] = {
    "parametrized": _parametrized,
    "weight norm by hooks": nn.utils.weight_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm by hooks": nn.utils.spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "pruned": lambda cell, name: prune.l1_unstructured(cell, name, 0.5),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", ["lstm", "mingru"])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weights_that_are_made_of_others_are_made_at_every_call(maker: str, kind: str) -> None:
    """And once: a step after training is one on the new weights, the next call has a graph of its own."""
    found = []
    for network in of_cell(kind):
        torch.manual_seed(7)
        MAKERS[maker](network.cells[0], "weight_ih")
        x, made = torch.randn(4, 3, 4), []
        for _ in range(2):
            output, after = network(x)
            made += [output, *torch.autograd.grad(output.sin().sum(), list(network.parameters()))]
            with torch.no_grad():
                network.get_parameter("cells.0.bias_ih").add_(0.1)
                for weight in network.parameters():
                    weight.mul_(1.25)
            made.append(network.step(x[0], after)[0])
        found.append(made)
    same(found[1], found[0])
    assert not torch.equal(found[0][0], found[0][len(found[0]) // 2])


@needs_kernels
def test_made_weights_have_the_kernels_and_weight_drop() -> None:
    network = Recurrent("layernorm-lstm", 4, 8, weight_drop=1.0)
    _parametrized(network.cells[0], "weight_hh")
    without = copy.deepcopy(network)
    with torch.no_grad():
        without.get_parameter("cells.0.parametrizations.weight_hh.original").zero_()
    x = torch.randn(4, 3, 4)
    same([network(x)[0]], [without.eval()(x)[0]])
    assert network.ran == "fused"
