"""Each operation in the table agrees with torch, in C and in its derivative."""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.unroll.recurrence.kernels.test_graph import OPERATIONS as TORCH
from unroll.recurrence.cell import Cell, State
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.compiled import load
from unroll.recurrence.kernels.operations import OPERATIONS, c_functions, expression, triton_functions
from unroll.recurrence.rnn import Recurrent

compiler = pytest.mark.skipif(native.missing() is not None, reason="no C compiler")
POINTS = torch.tensor([-30.0, -2.5, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.3, 1.0, 2.5, 30.0])
POSITIVE = ("log", "sqrt")
FUNCTION = (
    "void v_all_{name}(const float **in, float *out, long n) {{\n  for (long i = 0; i < n; i++) {{\n"
    "    vec {declared};\n    vec y = {text}; out[i] = y[0];\n  }}\n}}\n"
)


def test_the_tests_know_every_operation() -> None:
    assert set(TORCH) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("name", "text"),
    [("add", "a + b"), ("sub", "a - b"), ("mul", "a * b"), ("div", "a / b"), ("neg", "-a"), ("tanh", "v_tanh(a)"),
     ("maximum", "v_maximum(a, b)")],
)  # fmt: skip
def test_expressions(name: str, text: str) -> None:
    assert expression(name, ["a", "b"][: len(OPERATIONS[name].arguments)]) == text


def test_a_function_comes_after_those_that_it_calls() -> None:
    for text, start in ((c_functions(), "static inline vec {}("), (triton_functions(), "def {}(")):
        at = {name: text.find(start.format(f"v_{name}")) for name in OPERATIONS}
        for name, begin in at.items():
            body = text[begin : text.index("\n", text.index("return", begin))] if begin >= 0 else ""
            called = [other for other in OPERATIONS if other != name and f"v_{other}(" in body]
            assert all(at[other] < begin for other in called), name


def arguments(name: str) -> list[Tensor]:
    """Every combination of the points, except where torch knows no value."""
    points = POINTS[POINTS > 0] if name in POSITIVE else POINTS[POINTS > -1] if name == "log1p" else POINTS
    given = torch.cartesian_prod(*[points] * len(OPERATIONS[name].arguments)).view(-1, len(OPERATIONS[name].arguments))
    return [column.contiguous() for column in given.unbind(1)]


def in_c(name: str, given: list[Tensor]) -> Tensor:
    letters = [f"p{k}" for k in range(len(given))]
    declared = ", ".join(f"{letter} = {{in[{k}][i]}}" for k, letter in enumerate(letters))
    text = FUNCTION.format(name=name, declared=declared, text=expression(name, letters))
    library = load(f'#include "native.h"\n{c_functions()}{text}', f"v_all_{name}")
    out = torch.empty(len(given[0]))
    pointers = (ctypes.c_void_p * len(given))(*[tensor.data_ptr() for tensor in given])
    getattr(library, f"v_all_{name}")(pointers, ctypes.c_void_p(out.data_ptr()), ctypes.c_long(len(out)))
    return out


@compiler
@pytest.mark.parametrize("name", OPERATIONS)
def test_in_c_it_is_what_torch_computes(name: str) -> None:
    given = arguments(name)
    wanted = TORCH[name](*[tensor.double() for tensor in given]).float()
    torch.testing.assert_close(in_c(name, given), wanted, rtol=1e-6, atol=1e-7, equal_nan=True)


class HalfUsed(Cell):
    """Only the second half of its product reaches the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(2 * hidden_size, hidden_size))

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(u + F.linear(state[0], self.weight_hh).chunk(2, -1)[1])
        return hidden, (hidden,)


def test_a_product_that_is_used_in_part_runs_as_a_loop() -> None:
    network = Recurrent(HalfUsed, 3, 4)
    output, _ = network(torch.randn(5, 2, 3))
    assert output.shape == (5, 2, 4) and network.ran == "eager"
