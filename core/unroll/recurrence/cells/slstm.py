"""The sLSTM of xLSTM: exponential gates, kept in range by a running maximum."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, positive
from unroll.recurrence.cells.parts import masked, set_gate_bias

FORGET_GATES = ("sigmoid", "exponential")


class SLSTMCell(Cell):
    """LSTM with exponential gating and a normaliser (Beck et al. 2024, "xLSTM", equations 8 to 17).

        i, f, g, o = U x_t + W h_{t-1} + b              W is block-diagonal: each head sees only its own units
        log f = log sigmoid(f), or f itself             forget_gate = "sigmoid" or "exponential"
        m_t = max(log f + m_{t-1}, i)                   stabiliser: the largest exponent so far
        i' = exp(i - m_t),  f' = exp(log f + m_{t-1} - m_t)
        c_t = f' * c_{t-1} + i' * tanh(g)
        n_t = f' * n_{t-1} + i'
        h_t = sigmoid(o) * c_t / n_t                    does not depend on m: it cancels

    Parameters: 4 * H * (D + H // heads + 1)

    When to use it: where stored values must be revised later, as in nearest-neighbour search or state tracking. The
    xLSTM block's convolution, group norm and up-projection belong around it, not in it.
    """

    fixed_states = ("normaliser", "stabiliser")

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 1, forget_gate: str = "sigmoid") -> None:
        names = ("hidden", "cell", *self.fixed_states)
        super().__init__(input_size, hidden_size, state_shapes=dict.fromkeys(names, (hidden_size,)))
        self.heads = positive("heads", heads)
        if hidden_size % heads:
            raise ValueError(f"heads must divide hidden_size = {hidden_size}, got {heads}")
        if forget_gate not in FORGET_GATES:
            raise ValueError(f"forget_gate must be one of {', '.join(FORGET_GATES)}, got {forget_gate!r}")
        self.forget_gate = forget_gate
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size // heads))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        hidden, cell, normaliser, stabiliser = state
        write, forget, candidate, out = (u + self._recurrent(masked(hidden, mask))).chunk(4, dim=-1)
        log_keep = (F.logsigmoid(forget) if self.forget_gate == "sigmoid" else forget) + stabiliser
        stabiliser = torch.maximum(log_keep, write)
        keep, write = torch.exp(log_keep - stabiliser), torch.exp(write - stabiliser)
        cell = keep * cell + write * torch.tanh(candidate)
        normaliser = keep * normaliser + write
        hidden = torch.sigmoid(out) * cell / normaliser
        return hidden, (hidden, cell, normaliser, stabiliser)

    def initial(self, batch: int, extent: tuple[int, ...] = ()) -> State:
        """Nothing is stored, and m_0 is below every exponent, so that m_1 = i and n_t is at least 1 from then on."""
        *zeros, stabiliser = super().initial(batch, extent)
        return (*zeros, stabiliser - 1e4)

    def _recurrent(self, hidden: Tensor) -> Tensor:
        """W h with W block-diagonal; weight_hh [4, heads, H/heads, H/heads] flattened into rows, gate by gate."""
        if self.heads == 1:
            return F.linear(hidden, self.weight_hh)
        size = self.hidden_size // self.heads
        weight = self.weight_hh.view(4, self.heads, size, size)
        product = torch.einsum("bhj,ghij->bghi", hidden.view(-1, self.heads, size), weight)
        return product.flatten(1)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias, None, 4, 1, keep if self.forget_gate == "sigmoid" else F.logsigmoid(keep))
        if write is not None:
            set_gate_bias(self.bias, None, 4, 0, write)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, heads={self.heads}, forget_gate={self.forget_gate}"
