"""The large products: any shape, windows of matrices, no writes outside the result."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from unroll.recurrence.kernels.cpu import linear as products
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.linear import FastLinear, Side, deferred, linear, outer
from unroll.recurrence.registry import make_cell

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
WAYS = ["float32", "vectors", "tiles"][: 1 + (native.base().has_bfloat16() if native.missing() is None else 0)]


@pytest.fixture(params=WAYS)
def bf16(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether operands are rounded to bfloat16; where the processor has a matrix unit, with and without it."""
    if "tiles" in WAYS:
        used = ctypes.c_int.in_dll(native.base(), "tiles")
        used.value = request.param == "tiles"
    yield request.param != "float32"
    if "tiles" in WAYS:
        used.value = 1


@pytest.mark.parametrize("narrow", [False, True])
def test_weight_gradients_of_any_shape_in_windows(bf16: bool, narrow: bool) -> None:
    draw = random.Random(0)
    for _ in range(150):
        rows, units, some = draw.choice([1, 2, 7, 33, 300]), draw.choice([draw.randint(1, 60), 300]), draw.randint(1, 3)
        a, sums = torch.randn(rows, units + 3)[:, :units], torch.empty(units)
        if bf16 and narrow:
            a = a.bfloat16()
        around, sides = [], []
        for _ in range(some):
            inputs = draw.randint(1, 110)
            b, grid = torch.randn(rows, inputs + 5)[:, :inputs], torch.full((units + 2, inputs + 3), 7.0)
            around.append((grid, b))
            by_row = draw.random() < 0.5
            where = b.data_ptr() + 4 * b.stride(0) * torch.arange(rows) if by_row else b
            sides.append(Side(where, grid[1 : 1 + units, 1 : 1 + inputs]))
        outer(a, sides, sums if draw.random() < 0.5 else sums.copy_(a.float().sum(0)), bf16=bf16)
        assert float((sums - a.double().sum(0)).abs().max()) <= 1e-4
        for (grid, b), (_, into) in zip(around, sides, strict=True):
            wanted = a.double().t() @ b.double()
            assert float((into - wanted).abs().max()) <= (2e-2 if bf16 else 1e-5) * (1 + float(wanted.abs().max()))
            into.fill_(7.0)
            assert bool((grid == 7.0).all()), "something beside the result was written"


def test_products_of_and_into_bfloat16(bf16: bool) -> None:
    draw = random.Random(0)
    for _ in range(80 if bf16 else 1):
        rows, units, inputs = draw.choice([1, 3, 95, 97, 300]), draw.randint(1, 120), draw.choice([1, 5, 48, 531])
        a, weight, bias = torch.randn(rows, inputs), torch.randn(units, inputs), torch.randn(units)
        wanted = F.linear(a, weight, bias)
        for left in (a, a.bfloat16() if bf16 else a):
            got = products.product(left, weight, bias, bf16=bf16, narrow=bf16)
            assert got.dtype == (torch.bfloat16 if bf16 else torch.float32)
            assert float((got - wanted).abs().max()) <= (3e-2 if bf16 else 1e-5) * (1 + float(wanted.abs().max()))


@pytest.mark.parametrize("cell", ["lstm", "layernorm-lstm"])
def test_what_a_project_multiplies_is_found_without_the_product(cell: str) -> None:
    x = torch.randn(3, 2, 4)
    made = make_cell(cell, 4, 5)
    given = deferred(made, x)
    assert given.input is x
    assert given.weight is made.weight_ih


def test_linear_is_torchs(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)
    draw = random.Random(0)
    tolerance = 3e-2 if bf16 else 1e-5
    for _ in range(80):
        rows, units, inputs = draw.choice([1, 3, 95, 97, 300]), draw.randint(1, 120), draw.choice([1, 5, 48, 530])
        x = torch.randn(rows, inputs, requires_grad=True)
        weight, bias = torch.randn(units, inputs, requires_grad=True), torch.randn(units, requires_grad=True)
        given = [x, weight] if draw.random() < 0.5 else [x, weight, bias]
        weights = torch.randn(rows, units)
        results = []
        for way in (F.linear, lambda *arguments: linear(*arguments, bf16=bf16)):
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


def test_within_the_block_linear_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)
    x, weight = torch.randn(4, 3, 5), torch.randn(6, 5, requires_grad=True)
    with FastLinear():
        inside = F.linear(x, weight)
    assert inside.grad_fn is not None
    assert (inside.grad_fn.name(), F.linear(x, weight).grad_fn.name()) == ("_LinearBackward", "UnsafeViewBackward0")
