"""The coupled oscillatory network: a second-order system instead of gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State
from unroll.recurrence.cells.parts import masked


class CoRNNCell(Cell):
    """Coupled oscillatory recurrent network (Rusch and Mishra 2021, ICLR, equation 3, damping taken explicitly).

        z_t = z_{t-1} + dt * (tanh(U x_t + W y_{t-1} + Z z_{t-1} + b) - frequency * y_{t-1} - damping * z_{t-1})
        y_t = y_{t-1} + dt * z_t

    y (the hidden state, the output) is the position of H driven, damped oscillators, z their velocity; weight_hh is
    [W, Z]. Its gradient is bounded above and below for small enough dt.

    Parameters: H * (D + 2 * H + 1)

    When to use it: very long inputs, pixel by pixel or sample by sample, where an Elman network's gradient vanishes.
    dt is the time constant: lower it for longer dependencies.
    """

    activation_names = ("force",)

    def __init__(
        self, input_size: int, hidden_size: int, *, dt: float = 0.042, frequency: float = 2.7, damping: float = 4.7
    ) -> None:
        super().__init__(input_size, hidden_size, state_shapes={"hidden": (hidden_size,), "velocity": (hidden_size,)})
        for name, value in (("dt", dt), ("frequency", frequency), ("damping", damping)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        self.dt, self.frequency, self.damping = dt, frequency, damping
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        position, velocity = state
        force = torch.tanh(u + F.linear(torch.cat([masked(position, mask), velocity], dim=-1), self.weight_hh))
        velocity = velocity + self.dt * (force - self.frequency * position - self.damping * velocity)
        position = position + self.dt * velocity
        return position, (position, velocity)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dt={self.dt}, frequency={self.frequency}, damping={self.damping}"
