"""The science: recurrent cells, the network over any of them, and the state protocol. Imports nothing else of ours."""

from torch import serialization
from torch.nn import ModuleList, ParameterDict

from unroll.recurrence import state
from unroll.recurrence.cell import Cell, State
from unroll.recurrence.conformance import check_cell
from unroll.recurrence.dropin import GRU, LSTM, RNN, from_torch, to_torch
from unroll.recurrence.dropin_cells import GRUCell, LSTMCell, RNNCell
from unroll.recurrence.dropout import VariationalDropout
from unroll.recurrence.registry import BUILTIN, CELLS
from unroll.recurrence.rnn import Recurrent

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "State",
    "VariationalDropout",
    "check_cell",
    "from_torch",
    "state",
    "to_torch",
]

# torch.load(..., weights_only=True) takes whole modules of ours: none runs foreign code when it is read.
serialization.add_safe_globals(
    [
        RNN,
        LSTM,
        GRU,
        RNNCell,
        LSTMCell,
        GRUCell,
        Recurrent,
        VariationalDropout,
        ModuleList,
        ParameterDict,
        *BUILTIN.values(),
    ]
)
