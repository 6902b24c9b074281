"""The cell $name: change its equations, and every application can use it as model.cell=$name."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.recurrence.cell import Cell, State


class ${Name}Cell(Cell):
    """A leaky Elman cell (Jaeger et al. 2007), each unit with its own rate.

        n = tanh(U x_t + W h_{t-1} + b)
        h_t = (1 - a) * h_{t-1} + a * n         a = sigmoid(r)

    Parameters: H * (D + H + 2)

    When to use it: where units should move at different speeds, without the cost of gates.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.rate = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        new = torch.tanh(u + F.linear(hidden, self.weight_hh))
        hidden = hidden + torch.sigmoid(self.rate) * (new - hidden)
        return hidden, (hidden,)


CELL = ${Name}Cell
