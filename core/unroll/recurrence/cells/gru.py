"""The gated recurrent unit, with the reset gate applied after or before the recurrent product."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State
from unroll.recurrence.cells.parts import masked, reset_norm, set_gate_bias


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder").

        r = sigmoid(U_r x_t + b_ir + W_r h_{t-1} + b_hr)          reset gate
        z = sigmoid(U_z x_t + b_iz + W_z h_{t-1} + b_hz)          update gate
        n = tanh(U_n x_t + b_in + r * (W_n h_{t-1} + b_hn))       candidate, reset_gate = "after" (torch.nn)
        n = tanh(U_n x_t + b_in + W_n (r * h_{t-1}) + b_hn)       candidate, reset_gate = "before" (the paper)
        h_t = (1 - z) * n + z * h_{t-1}

    Parameters: 3 * H * (D + H + 2)

    The gate order r, z, n and the two biases are those of torch.nn, so that weights can be exchanged.

    When to use it: three quarters of an LSTM's cost and no separate cell state; often as good on speech and sessions,
    weaker where exact counting is needed. "after" needs one recurrent product per step, "before" two.
    """

    activation_names = ("reset and update gate", "candidate")

    def __init__(self, input_size: int, hidden_size: int, *, reset_gate: str = "after", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        if reset_gate not in ("after", "before"):
            raise ValueError(f"reset_gate must be 'after' or 'before' (the recurrent product), got {reset_gate!r}")
        self.reset_gate = reset_gate
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(3 * hidden_size)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(3 * hidden_size)) if bias else None
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias_ih)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        (hidden,) = state
        step = self._after if self.reset_gate == "after" else self._before
        update, candidate = step(u, masked(hidden, mask), mask)
        hidden = candidate + update * (hidden - candidate)
        return hidden, (hidden,)

    def _after(self, u: Tensor, hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        total = F.linear(hidden, self.weight_hh, self.bias_hh)
        split = 2 * self.hidden_size
        reset, update = torch.sigmoid(u[..., :split] + total[..., :split]).chunk(2, dim=-1)
        return update, torch.tanh(u[..., split:] + reset * total[..., split:])

    def _before(self, u: Tensor, hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        split = 2 * self.hidden_size
        bias, bias_candidate = (None, None) if self.bias_hh is None else (self.bias_hh[:split], self.bias_hh[split:])
        gates = torch.sigmoid(u[..., :split] + F.linear(hidden, self.weight_hh[:split], bias))
        reset, update = gates.chunk(2, dim=-1)
        candidate = u[..., split:] + F.linear(reset * hidden, self.weight_hh[split:], bias_candidate)
        return update, torch.tanh(candidate)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias_ih, self.bias_hh, 3, 1, keep)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, reset_gate={self.reset_gate}, bias={self.bias_ih is not None}"


class LayerNormGRUCell(Cell):
    """GRU with layer normalisation inside the recurrence (Ba, Kiros and Hinton 2016, equations 26 to 29).

        r, z = sigmoid(LN(U_rz x_t) * gain_ih + b_rz + LN(W_rz h_{t-1}) * gain_hh)
        n = tanh(LN(U_n x_t) * gain_ih + b_n + r * (LN(W_n h_{t-1}) * gain_hh + b_hn))
        h_t = (1 - z) * n + z * h_{t-1}

    The two gates are normalised together, the candidate by itself. z keeps, as in torch.nn (the paper's z is 1 - z).

    Parameters: H * (3 * D + 3 * H + 10)

    When to use it: where a GRU fits but trains slowly, or inputs vary in scale from sequence to sequence.
    """

    activation_names = ("reset and update gate", "candidate")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.gain_ih = nn.Parameter(torch.empty(3 * hidden_size))
        self.gain_hh = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hn = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return self._normalised(F.linear(x, self.weight_ih), self.gain_ih) + self.bias

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        (hidden,) = state
        split = 2 * self.hidden_size
        total = self._normalised(F.linear(masked(hidden, mask), self.weight_hh), self.gain_hh)
        reset, update = torch.sigmoid(u[..., :split] + total[..., :split]).chunk(2, dim=-1)
        candidate = torch.tanh(u[..., split:] + reset * (total[..., split:] + self.bias_hn))
        hidden = candidate + update * (hidden - candidate)
        return hidden, (hidden,)

    def _normalised(self, total: Tensor, gain: Tensor) -> Tensor:
        gates, candidate = total[..., : 2 * self.hidden_size], total[..., 2 * self.hidden_size :]
        normal = [F.layer_norm(part, part.shape[-1:]) for part in (gates, candidate)]
        return torch.cat(normal, dim=-1) * gain

    def reset_parameters(self) -> None:
        super().reset_parameters()
        reset_norm(gains=[self.gain_ih, self.gain_hh], biases=[self.bias, self.bias_hn])

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias, None, 3, 1, keep)
