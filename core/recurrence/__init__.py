"""The science: recurrent cells, the network over any of them, and the state protocol. Imports nothing else of core."""

from core.recurrence import state
from core.recurrence.cell import Cell, State
from core.recurrence.conformance import check_cell
from core.recurrence.dropin import GRU, LSTM, RNN, from_torch
from core.recurrence.dropin_cells import GRUCell, LSTMCell, RNNCell
from core.recurrence.dropout import VariationalDropout
from core.recurrence.registry import CELLS
from core.recurrence.rnn import Recurrent

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
]
