"""When imported, lets `torch.load(..., weights_only=True)` load whole modules of ours: loading runs no foreign code."""

from torch import serialization
from torch.nn import ModuleList, ParameterDict

from unroll.recurrence.dropin import GRU, LSTM, RNN
from unroll.recurrence.dropin_cells import GRUCell, LSTMCell, RNNCell
from unroll.recurrence.dropout import VariationalDropout
from unroll.recurrence.registry import BUILTIN, CELLS
from unroll.recurrence.rnn import Recurrent

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
        *(CELLS[name] for name in BUILTIN),
    ]
)
