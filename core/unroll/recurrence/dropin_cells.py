"""LSTMCell, GRUCell and RNNCell with torch.nn's constructor, shapes and parameter names: one step of one layer.

They subclass torch.nn's. Plain float32 calls on the CPU run on our kernels, which are faster and agree with torch's up
to rounding; all other calls, and RNN calls with gradients, run on torch's function (see `unroll.recurrence.one_step`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from unroll.recurrence import one_step

MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
"""torch.nn's names of the two networks that an RNNCell may be"""


class RNNCell(nn.RNNCell):
    """torch.nn.RNNCell, faster in small steps."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """As torch.nn: input [B, D] or [D], hx [B, H] or [H] -> the hidden state after the step, of hx's shape."""
        mode = MODES.get(self.nonlinearity)
        after: Any = None if mode is None else one_step.of_rnn_cell(self, mode, input, hx)
        return super().forward(input, hx) if after is None else after

    def __prepare_scriptable__(self) -> nn.Module:
        return scriptable(self, RNNCell, nn.RNNCell)


class LSTMCell(nn.LSTMCell):
    """torch.nn.LSTMCell, faster in small steps."""

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """As torch.nn: input [B, D] or [D], hx two of [B, H] or [H] -> hidden and cell state after the step."""
        after: Any = one_step.of_cell(self, "LSTM", input, hx)
        return super().forward(input, hx) if after is None else after

    def __prepare_scriptable__(self) -> nn.Module:
        return scriptable(self, LSTMCell, nn.LSTMCell)


class GRUCell(nn.GRUCell):
    """torch.nn.GRUCell, faster in small steps."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """As torch.nn: input [B, D] or [D], hx [B, H] or [H] -> the hidden state after the step, of hx's shape."""
        after: Any = one_step.of_cell(self, "GRU", input, hx)
        return super().forward(input, hx) if after is None else after

    def __prepare_scriptable__(self) -> nn.Module:
        return scriptable(self, GRUCell, nn.GRUCell)


FRAMES = "_frames"
"""attribute of RNN, LSTM and GRU: the networks that compute for them, without weights"""
CELLS: dict[type[nn.Module], type[nn.Module]] = {RNNCell: nn.RNNCell, LSTMCell: nn.LSTMCell, GRUCell: nn.GRUCell}
"""ours -> torch.nn's"""


def scriptable(module: nn.Module, ours: type[nn.Module], theirs: type[nn.Module]) -> nn.Module:
    """torch.jit.script compiles torch.nn's module over the same parameters; users' subclasses are left to them."""
    return copied(module, theirs) if type(module) is ours else module


def copied(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """A module of this class with the same parameters, buffers, children and hooks, in dictionaries of its own."""
    made = kind.__new__(kind)
    for name, value in lasting(module.__dict__).items():
        made.__dict__[name] = copy.copy(value) if isinstance(value, dict | list) else value
    return made


def lasting(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What copies and files have of a drop-in: all but its frames, which are rebuilt where they are needed."""
    return {name: value for name, value in attributes.items() if name != FRAMES}
