"""Gated cells with a single gate: MGU and Li-GRU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State
from unroll.recurrence.cells.parts import masked, reset_norm, set_gate_bias


class MGUCell(Cell):
    """Minimal gated unit (Zhou et al. 2016): a GRU with its two gates merged into one.

        f = sigmoid(U_f x_t + W_f h_{t-1} + b_f)
        n = tanh(U_n x_t + W_n (f * h_{t-1}) + b_n)
        h_t = (1 - f) * h_{t-1} + f * n

    Parameters: 2 * H * (D + H + 1)

    When to use it: two thirds of a GRU's weights where memory or data are scarce. Note that f = 1 forgets.
    """

    activation_names = ("gate", "candidate")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        (hidden,) = state
        seen = masked(hidden, mask)
        weight_gate, weight_candidate = self.weight_hh.chunk(2)
        gate, candidate = u.chunk(2, dim=-1)
        gate = torch.sigmoid(gate + F.linear(seen, weight_gate))
        candidate = torch.tanh(candidate + F.linear(gate * seen, weight_candidate))
        hidden = hidden + gate * (candidate - hidden)
        return hidden, (hidden,)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias, None, 2, 0, -keep)


class LiGRUCell(Cell):
    """Light GRU for speech: no reset gate, ReLU, normalised input (Ravanelli et al. 2018, IEEE TETCI 2(2)).

        z = sigmoid(N(U_z x_t) + W_z h_{t-1})
        n = relu(N(U_n x_t) + W_n h_{t-1})
        h_t = z * h_{t-1} + (1 - z) * n

    N is layer normalisation over both at once, with gain and bias. The paper's batch normalisation would make a row
    depend on the other rows and on the padding; normalised=False leaves only the bias.

    Parameters: 2 * H * (D + H + (2 if normalised else 1))

    When to use it: acoustic models, where it is as accurate as a GRU at two thirds of the cost. With
    normalised=False, W should start orthogonal, as ReLU does not bound the state.
    """

    def __init__(self, input_size: int, hidden_size: int, *, normalised: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.gain = nn.Parameter(torch.empty(2 * hidden_size)) if normalised else None
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        if self.gain is None:
            return F.linear(x, self.weight_ih, self.bias)
        return F.layer_norm(F.linear(x, self.weight_ih), self.gain.shape, self.gain, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        (hidden,) = state
        gate, candidate = (u + F.linear(masked(hidden, mask), self.weight_hh)).chunk(2, dim=-1)
        candidate = torch.relu(candidate)
        hidden = candidate + torch.sigmoid(gate) * (hidden - candidate)
        return hidden, (hidden,)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        reset_norm(gains=[] if self.gain is None else [self.gain], biases=[self.bias])

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias, None, 2, 0, keep)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, normalised={self.gain is not None}"
