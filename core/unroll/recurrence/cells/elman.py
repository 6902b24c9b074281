"""Elman's network, as in the equations of DESIGN section 1, and its element-wise variant IndRNN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State
from unroll.recurrence.cells.parts import masked, sum_of_biases

Function = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """f(x) = x: the linear network, whose gradient through time is known in closed form."""
    return x


FUNCTIONS: Mapping[str, Function] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": identity,
}


def function_named(f: str | Function) -> tuple[str, Function]:
    """The name and the function that `f` stands for.

    Raises:
        ValueError: a name that is not in FUNCTIONS.
    """
    if not isinstance(f, str):
        return getattr(f, "__name__", repr(f)), f
    if f not in FUNCTIONS:
        raise ValueError(f"f must be one of {', '.join(FUNCTIONS)} or a function, got {f!r}")
    return f, FUNCTIONS[f]


class _OfFunction(Cell):
    """A cell with a function f; copies and pickles hold its name if it is one of FUNCTIONS."""

    name_of_f: str
    f: Function

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if FUNCTIONS.get(self.name_of_f) is self.f:
            del state["f"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"f": FUNCTIONS.get(state["name_of_f"])} | state)  # type: ignore[no-untyped-call]  # torch: no types


class ElmanCell(_OfFunction):
    """The simple recurrent network (Elman, "Finding structure in time", Cognitive Science 14, 1990).

        S_t = f(U x_t + b_ih + W S_{t-1} + b_hh)

    Parameters: H * (D + H + 2)

    When to use it: as the baseline, to study the gradient, and for short dependencies; with f = "relu" and
    init = "identity" it is the IRNN (Le et al. 2015), which reaches further back. `f` is "tanh", "relu", "sigmoid",
    "identity" or any element-wise function. Two biases, as in torch.nn, so that weights can be exchanged.
    """

    activation_names = ("activation",)

    def __init__(self, input_size: int, hidden_size: int, *, f: str | Function = "tanh", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        self.name_of_f, self.f = function_named(f)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(hidden_size)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(hidden_size)) if bias else None
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, sum_of_biases(self.bias_ih, self.bias_hh))

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        hidden = self.f(u + F.linear(masked(state[0], mask), self.weight_hh))
        return hidden, (hidden,)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, f={self.name_of_f}, bias={self.bias_ih is not None}"


class IndRNNCell(_OfFunction):
    """Independently recurrent network: each unit sees only its own past (Li et al. 2018, CVPR).

        S_t = f(U x_t + w * S_{t-1} + b)        w [H], element-wise

    Parameters: H * (D + 2)

    When to use it: long sequences and deep stacks; w alone decides how fast a unit forgets, so the gradient through
    time is w to the power of the lag. Units mix only between layers: use at least two.
    """

    activation_names = ("activation",)

    def __init__(self, input_size: int, hidden_size: int, *, f: str | Function = "relu") -> None:
        super().__init__(input_size, hidden_size)
        self.name_of_f, self.f = function_named(f)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        hidden = self.f(u + self.weight_hh * masked(state[0], mask))
        return hidden, (hidden,)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.uniform_(self.weight_hh, 0, 1)  # the paper's: from no memory to a perfect one

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        with torch.no_grad():
            self.weight_hh.copy_(torch.sigmoid(keep))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, f={self.name_of_f}"
