"""The large products: any shape, windows of matrices, nothing written beside the result."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F

from core.recurrence.kernels import linear as products
from core.recurrence.kernels import native
from core.recurrence.kernels.linear import FastLinear, linear, outer, straight_from_linear

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
HALVED = [False, *([True] if native.missing() is None and native.base().has_bfloat16() else [])]


@pytest.mark.parametrize("halved", HALVED)
def test_weight_gradients_of_any_shape_in_windows(halved: bool) -> None:
    draw = random.Random(0)
    for _ in range(150):
        rows, units, inputs = draw.choice([1, 2, 7, 33, 300]), draw.randint(1, 60), draw.randint(1, 110)
        a, b = torch.randn(rows, units + 3)[:, :units], torch.randn(rows, inputs + 5)[:, :inputs]
        around, add = torch.full((units + 2, inputs + 3), 7.0), draw.random() < 0.5
        into = around[1 : 1 + units, 1 : 1 + inputs]
        outer(a, b, into, add=add, halved=halved)
        wanted = a.double().t() @ b.double() + (7.0 if add else 0.0)
        assert float((into - wanted).abs().max()) <= (2e-2 if halved else 1e-5) * (1 + float(wanted.abs().max()))
        into.fill_(7.0)
        assert bool((around == 7.0).all()), "something beside the result was written"


@pytest.mark.parametrize("halved", HALVED)
def test_linear_is_torchs(halved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)
    draw = random.Random(0)
    tolerance = 3e-2 if halved else 1e-5
    for _ in range(80):
        rows, units, inputs = draw.choice([1, 3, 95, 97, 300]), draw.randint(1, 120), draw.choice([1, 5, 48, 530])
        x = torch.randn(rows, inputs, requires_grad=True)
        weight, bias = torch.randn(units, inputs, requires_grad=True), torch.randn(units, requires_grad=True)
        given = [x, weight] if draw.random() < 0.5 else [x, weight, bias]
        weights = torch.randn(rows, units)
        results = []
        for way in (F.linear, lambda *arguments: linear(*arguments, halved=halved)):
            output = way(*given)
            results.append([output, *torch.autograd.grad((output * weights).sum(), given)])
        for wanted, got in zip(*results, strict=True):
            assert float((got - wanted).detach().abs().max()) <= tolerance * (1 + float(wanted.detach().abs().max()))


def test_second_derivatives_of_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)

    def second(way: object) -> torch.Tensor:
        torch.manual_seed(0)
        x, weight = torch.randn(7, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)
        (slope,) = torch.autograd.grad(way(x, weight).square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), weight)[0]

    torch.testing.assert_close(second(linear), second(F.linear))


def test_within_the_block_linear_is_ours_and_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)
    x, weight = torch.randn(4, 3, 5), torch.randn(6, 5, requires_grad=True)
    with FastLinear():
        straight, bent = F.linear(x, weight), torch.tanh(F.linear(x, weight))
    assert straight_from_linear(straight.flatten(0, 1))
    assert not straight_from_linear(bent)
    assert not straight_from_linear(F.linear(x, weight))
