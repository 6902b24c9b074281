"""The long short-term memory and its options."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, positive
from unroll.recurrence.cells.parts import masked, reset_norm, set_gate_bias, sum_of_biases


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

        i = sigmoid(U_i x_t + W_i h_{t-1} + b_i)        input gate
        f = sigmoid(U_f x_t + W_f h_{t-1} + b_f)        forget gate
        g = tanh(U_g x_t + W_g h_{t-1} + b_g)           candidate
        o = sigmoid(U_o x_t + W_o h_{t-1} + b_o)        output gate
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    Parameters: G * H * (D + R + 2) + (R * H if projection else 0) + ((G - 1) * H if peephole else 0)

    with G = 4 gates (3 if coupled) and R = projection, or H without one. Two biases and the gate order i, f, g, o as in
    torch.nn, so that weights can be exchanged.

    Options:
        peephole: the gates see the cell state: p_i * c_{t-1}, p_f * c_{t-1} and p_o * c_t (Gers et al. 2002).
        coupled: i = 1 - f, a quarter fewer parameters (Greff et al. 2017, "CIFG").
        projection: h_t = V (o * tanh(c_t)) of this many units (Sak et al. 2014), for a large memory with a small W.

    When to use it: the safe choice for most tasks. With init = "forget" it remembers from the start of training.
    """

    activation_names: tuple[str, ...] = ("forget gate", "input gate", "candidate", "output gate", "cell output")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peephole: bool = False,
        coupled: bool = False,
        projection: int | None = None,
        bias: bool = True,
    ) -> None:
        output = hidden_size if projection is None else positive("projection", projection)
        shapes = {"hidden": (output,), "cell": (hidden_size,)}
        super().__init__(input_size, hidden_size, output_size=output, state_shapes=shapes)
        self.coupled = coupled
        if coupled:
            self.activation_names = ("forget gate", "candidate", "output gate", "cell output")
        rows = (3 if coupled else 4) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, output))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias else None
        self.weight_hr = nn.Parameter(torch.empty(output, hidden_size)) if projection else None
        self.peephole = nn.Parameter(torch.empty(2 if coupled else 3, hidden_size)) if peephole else None
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih, sum_of_biases(self.bias_ih, self.bias_hh))

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        hidden, cell = state
        *write, forget, candidate, out = self._gates(u + F.linear(masked(hidden, mask), self.weight_hh), cell)
        keep = torch.sigmoid(forget)
        cell = keep * cell + (torch.sigmoid(write[0]) if write else 1 - keep) * torch.tanh(candidate)
        if self.peephole is not None:
            out = out + self.peephole[-1] * cell
        hidden = torch.sigmoid(out) * torch.tanh(cell)
        if self.weight_hr is not None:
            hidden = F.linear(hidden, self.weight_hr)
        return hidden, (hidden, cell)

    def _gates(self, total: Tensor, cell: Tensor) -> list[Tensor]:
        """[input,] forget, candidate and output before their sigmoid and tanh, with the peepholes to c_{t-1} added."""
        gates = list(total.chunk(3 if self.coupled else 4, dim=-1))
        if self.peephole is not None:
            for index, weight in enumerate(self.peephole[:-1]):
                gates[index] = gates[index] + weight * cell
        return gates

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        gates = 3 if self.coupled else 4
        set_gate_bias(self.bias_ih, self.bias_hh, gates, gates - 3, keep)
        if write is not None and not self.coupled:
            set_gate_bias(self.bias_ih, self.bias_hh, gates, 0, write)

    def extra_repr(self) -> str:
        projection = None if self.weight_hr is None else self.output_size
        options = f"peephole={self.peephole is not None}, coupled={self.coupled}, projection={projection}"
        return f"{super().extra_repr()}, {options}, bias={self.bias_ih is not None}"


class LayerNormLSTMCell(Cell):
    """LSTM with layer normalisation inside the recurrence (Ba, Kiros and Hinton 2016, equations 20 to 22).

        i, f, g, o = LN(W h_{t-1}) * gain_hh + LN(U x_t) * gain_ih + b        LN over all four gates at once
        c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
        h_t = sigmoid(o) * tanh(LN(c_t) * gain_c + bias_c)

    LN subtracts the mean and divides by the standard deviation over a row's features.

    Parameters: 4 * H * (D + H + 3) + 2 * H

    When to use it: deep or wide LSTMs that train slowly or diverge; usually needs fewer epochs than the plain one.
    """

    activation_names = ("forget gate", "input gate", "candidate", "output gate", "cell output")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, state_shapes={"hidden": (hidden_size,), "cell": (hidden_size,)})
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.gain_ih = nn.Parameter(torch.empty(4 * hidden_size))
        self.gain_hh = nn.Parameter(torch.empty(4 * hidden_size))
        self.gain_c = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_c = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.layer_norm(F.linear(x, self.weight_ih), self.gain_ih.shape, self.gain_ih, self.bias)

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        hidden, cell = state
        recurrent = F.linear(masked(hidden, mask), self.weight_hh)
        gates = u + F.layer_norm(recurrent, self.gain_hh.shape, self.gain_hh)
        write, forget, candidate, out = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(candidate)
        hidden = torch.sigmoid(out) * torch.tanh(F.layer_norm(cell, self.gain_c.shape, self.gain_c, self.bias_c))
        return hidden, (hidden, cell)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        reset_norm(gains=[self.gain_ih, self.gain_hh, self.gain_c], biases=[self.bias, self.bias_c])

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        set_gate_bias(self.bias, None, 4, 1, keep)
        if write is not None:
            set_gate_bias(self.bias, None, 4, 0, write)
