"""What a step was traced with is checked again: if an attribute, option or global changes, a new kernel is made."""

from __future__ import annotations

import logging
import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels import kernel_cache
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import Kernel
from unroll.recurrence.kernels.kernel_cache import kernel_of
from unroll.recurrence.kernels.reads import Reads, frozen, settled
from unroll.recurrence.kernels.trace import trace

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
RATE = 0.25
settings = types.ModuleType("settings")


class Kind(Enum):
    SMALL = 0.1
    LARGE = 0.7


@dataclass(frozen=True)
class Rates:
    new: float


@dataclass
class Loose:
    """May be changed, and nobody sees it."""

    new: float


def scaled(x: Tensor, by: float) -> Tensor:
    return x * by


class Leaky(Cell):
    """h_t = (1 - a) h_{t-1} + a tanh(U x_t), with a of any kind: `rate()` says where it comes from."""

    weight: float = 0.5

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.scale: Any = 0.3
        self.table: dict[str, list[float]] = {"new": [0.3]}
        self.kind, self.rates, self.f = Kind.SMALL, Rates(0.3), partial(scaled, by=0.3)
        self.inner = nn.LayerNorm(hidden_size)
        self.bare: nn.Module = nn.Identity()
        self.stack = nn.ModuleList([nn.Identity()])
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    @property
    def doubled(self) -> float:
        return 2 * float(self.scale)

    def helper(self, x: Tensor) -> Tensor:
        return 0.3 * x

    def new(self, u: Tensor) -> Tensor:
        raise NotImplementedError

    def step(self, u: Tensor, state: Any) -> Any:
        hidden = 0.5 * state[0] + self.new(torch.tanh(u))
        return hidden, (hidden,)


def leaky(new: Callable[[Any, Tensor], Tensor]) -> type[Leaky]:
    """The cell whose step does this with tanh(u)."""
    return type("OfTest", (Leaky,), {"new": new})


def set_item(cell: Any) -> None:
    cell.table["new"][0] = 0.9


def set_global(cell: Any) -> None:
    globals()["RATE"] = 0.75


def other_helper(cell: Any) -> None:
    cell.helper = lambda x: 0.9 * x


def other_class_attribute(cell: Any) -> None:
    type(cell).weight = 0.125


def enclosing() -> tuple[Callable[[Any, Tensor], Tensor], Callable[[Any], None]]:
    rate = 0.3

    def new(cell: Any, u: Tensor) -> Tensor:
        return rate * u

    def change(cell: Any) -> None:
        nonlocal rate
        rate = 0.9

    return new, change


def calls_a_function() -> tuple[Callable[[Any, Tensor], Tensor], Callable[[Any], None]]:
    return (lambda cell, u: by_the_global(u)), set_global


def by_the_global(x: Tensor) -> Tensor:
    return RATE * x


def pair_of_functions() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    def first(x: Tensor) -> Tensor:
        return pair_of_functions()[1](x)  # by the time that this is followed, the code of `first` has been seen

    def second(x: Tensor) -> Tensor:
        return RATE * x

    return first, second


FIRST, _ = pair_of_functions()


CHANGES: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Any], None]]] = {
    "number": (lambda cell, u: cell.scale * u, lambda cell: setattr(cell, "scale", 0.9)),
    "zero": (
        lambda cell, u: u * (1.0 if math.copysign(1, cell.scale) > 0 else 0.5),
        lambda cell: setattr(cell, "scale", -0.3),
    ),
    "class attribute": (lambda cell, u: cell.weight * u, other_class_attribute),
    "property": (lambda cell, u: cell.doubled * u, lambda cell: setattr(cell, "scale", 0.9)),
    "in a list in a dictionary": (lambda cell, u: cell.table["new"][0] * u, set_item),
    "enumeration": (lambda cell, u: cell.kind.value * u, lambda cell: setattr(cell, "kind", Kind.LARGE)),
    "frozen dataclass": (lambda cell, u: cell.rates.new * u, lambda cell: setattr(cell, "rates", Rates(0.9))),
    "partial function": (lambda cell, u: cell.f(u), lambda cell: setattr(cell, "f", partial(scaled, by=0.9))),
    "another function": (lambda cell, u: cell.f(u), lambda cell: setattr(cell, "f", torch.sigmoid)),
    "method": (lambda cell, u: cell.helper(u), other_helper),
    "module's number": (lambda cell, u: cell.inner(u), lambda cell: setattr(cell.inner, "eps", 1.0)),
    "another module": (lambda cell, u: cell.bare(u), lambda cell: setattr(cell, "bare", nn.Tanh())),
    "one of a list of modules": (
        lambda cell, u: cell.stack[0](u),
        lambda cell: cell.stack.__setitem__(0, nn.Sigmoid()),
    ),
    "one more in a list of modules": (
        lambda cell, u: [u := one(u) for one in cell.stack][-1],
        lambda cell: cell.stack.append(nn.Sigmoid()),
    ),
    "mode": (lambda cell, u: u * (0.5 if cell.training else 0.25), lambda cell: cell.eval()),
    "global": (lambda cell, u: RATE * u, set_global),
    "global of a function that is called": calls_a_function(),
    "global of a function beside one that was seen": (lambda cell, u: FIRST(u), set_global),
    "enclosing variable": enclosing(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_a_step_reads_is_noticed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "RATE", 0.25)
    new, alter = CHANGES[change]
    network, x = Recurrent(leaky(new), 3, 8, backend="fused"), torch.randn(4, 2, 3)
    before = network(x)[0]
    cell = network.cells[0]
    assert kernel_of(cell, Kernel) is kernel_of(cell, Kernel), "the same as long as nothing changes"
    alter(cell)
    after = network(x)[0]
    network.backend = "eager"
    torch.testing.assert_close(after, network(x)[0])
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_change_is_noticed_in_every_precision(precision: str, threads: int) -> None:
    network, x = Recurrent(leaky(lambda cell, u: cell.scale * u), 3, 8), torch.randn(4, 30, 3)
    if precision == "float64":
        network, x = network.double(), x.double()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for scale in (0.3, 0.9):
            network.cells[0].scale, network.backend = scale, "auto"
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                got = network(x)[0]
            network.backend = "eager"
            torch.testing.assert_close(got, network(x)[0], atol=1e-2 if precision == "bfloat16" else 1e-5, rtol=1e-2)
    finally:
        torch.set_num_threads(before)


def test_an_equal_value_is_no_new_kernel() -> None:
    network = Recurrent(leaky(lambda cell, u: cell.table["new"][0] * cell.scale * cell.rates.new * u), 3, 8)
    cell: Any = network.cells[0]
    kernel = kernel_of(cell, Kernel)
    cell.table, cell.scale, cell.rates = {"new": [float("0.3")]}, float("0.3"), Rates(float("0.3"))
    assert kernel_of(cell, Kernel) is kernel
    cell.f = torch.sigmoid  # which it does not read
    assert kernel_of(cell, Kernel) is kernel
    cell.scale = 0.4
    assert kernel_of(cell, Kernel) is not kernel
    cell.scale = 0.3
    assert kernel_of(cell, Kernel) is kernel, "as it was"


def test_a_number_that_becomes_a_parameter_gets_its_gradient() -> None:
    network = Recurrent(leaky(lambda cell, u: cell.scale * u), 3, 8)
    network(torch.randn(4, 2, 3))
    cell: Any = network.cells[0]
    del cell.scale
    cell.scale = nn.Parameter(torch.tensor(0.3))
    network(torch.randn(4, 2, 3))[0].sum().backward()
    assert cell.scale.grad is not None


def test_a_weight_of_another_shape_is_another_kernel() -> None:
    """Else C would read past its end."""
    network = Recurrent(leaky(lambda cell, u: u if cell.scale is None else u * cell.scale), 3, 8)
    cell: Any = network.cells[0]
    del cell.scale
    cell.register_parameter("scale", nn.Parameter(torch.rand(8)))
    kernel = kernel_of(cell, Kernel)
    cell.scale = nn.Parameter(torch.rand(8))
    assert kernel_of(cell, Kernel) is kernel
    cell.scale = None
    assert kernel_of(cell, Kernel) is not kernel


def writes(cell: Any, u: Tensor) -> Tensor:
    cell.last = 1
    return u


def hooked(cell: Any, u: Tensor) -> Tensor:
    result: Tensor = cell.bare(u)
    return result


@pytest.mark.parametrize(
    ("new", "prepare", "why"),
    [
        (
            lambda cell, u: cell.scale.new * u,
            lambda cell: setattr(cell, "scale", Loose(0.3)),
            "reads scale, a Loose that may",
        ),
        (
            lambda cell, u: float(cell.scale) * u,
            lambda cell: setattr(cell, "scale", torch.tensor(0.3)),
            "reads scale, a Tensor that may",
        ),
        (
            lambda cell, u: float(cell.buffer) * u,
            lambda cell: cell.register_buffer("buffer", torch.tensor(0.3)),
            "reads buffer, a Tensor that may",
        ),
        (writes, lambda cell: None, "writes its attribute last"),
        (hooked, lambda cell: cell.bare.register_forward_hook(lambda *_: None), "bare has hooks"),
        (lambda cell, u: LOOSE.new * u, lambda cell: None, "LOOSE, a Loose that may"),
    ],
)
def test_what_cannot_be_compared_keeps_the_cell_on_the_loop(new: Any, prepare: Any, why: str) -> None:
    network = Recurrent(leaky(new), 3, 8)
    prepare(network.cells[0])
    network(torch.randn(4, 2, 3))
    assert network.ran == "eager"
    assert why in str(kernel_of(network.cells[0], Kernel))


LOOSE = Loose(0.3)


def test_hooks_of_a_later_day_are_called() -> None:
    network, seen = Recurrent(leaky(hooked), 3, 8), []
    network(torch.randn(4, 2, 3))
    assert network.ran == "fused"
    network.cells[0].bare.register_forward_hook(lambda *_: seen.append(1))
    network(torch.randn(4, 2, 3))
    assert len(seen) == 4


def test_a_value_that_keeps_changing_is_not_compiled_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    network, x = Recurrent(leaky(lambda cell, u: cell.scale * u), 3, 8), torch.randn(4, 2, 3)
    cell: Any = network.cells[0]
    for step in range(kernel_cache.MOST + 2):
        cell.scale = step / 4
        output = network(x)[0]
    assert network.ran == "eager"
    assert "scale has had more than 8 values" in caplog.text
    network.backend = "eager"
    torch.testing.assert_close(output, network(x)[0])
    network.backend, cell.scale = "auto", 0.25
    network(x)
    assert network.ran == "fused", "a value that was compiled already"


def test_who_stays_on_the_loop_by_default_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    cell = leaky(lambda cell, u: torch.fft.fft(u).real)
    with caplog.at_level(logging.WARNING, "unroll.recurrence"):
        for backend in ("eager", "auto", "auto"):
            network = Recurrent(cell, 3, 8, backend=backend)
            network(torch.randn(4, 2, 3))
            assert network.ran == "eager"
            assert len(caplog.records) == (backend == "auto")
    assert "OfTest runs step by step, without a compiled kernel: fft_fft has no fused form" in caplog.text


@pytest.mark.parametrize("name", ["convlstm", "convgru", "mingru"])
def test_nobody_is_told_what_is_by_design(name: str, caplog: pytest.LogCaptureFixture) -> None:
    extent = (4, 4) if name.startswith("conv") else ()
    Recurrent(name, 2, 3)(torch.randn(2, 1, 2, *extent))
    Recurrent(name, 2, 3).double()(torch.randn(2, 1, 2, *extent).double())
    assert caplog.records == []


def test_only_what_is_read_is_noted() -> None:
    reads = Reads()
    cell: Any = leaky(lambda cell, u: cell.scale * u)(3, 8)
    trace(cell, None, reads=reads)
    guard = reads.guard()
    assert guard.holds(cell)
    cell.table, cell.weight, cell.kind = {}, 1.0, Kind.LARGE
    assert guard.holds(cell)
    cell.scale = 1
    assert not guard.holds(cell)
    assert guard.changed(cell) == ["scale"]


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0.0, -0.0), (1, 1.0), ([1], (1,)), ({"a": 1}, {"a": 2}), ({1}, {2}), (int, float)]
)
def test_what_is_equal_to_python_may_differ_for_a_step(one: object, other: object) -> None:
    assert frozen(one) != frozen(other)
    assert frozen(one) == frozen(one)
    assert frozen(math.nan) == frozen(float("nan"))


@pytest.mark.parametrize(
    ("module", "is_settled"),
    [("torch", True), ("torch.nn.functional", True), ("torchlike.x", False), ("unroll.recurrence.gates", True),
     ("unroll.recurrence.contributed.mine", False), ("unroll.apps.speech.model", False), ("__main__", False)],
)  # fmt: skip
def test_functions_of_torch_and_ours_are_not_looked_into(module: str, is_settled: bool) -> None:
    assert settled(module) == is_settled
