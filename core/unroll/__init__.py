"""The recurrent core of Unroll.

    from unroll import LSTM            # a drop-in for torch.nn.LSTM
    from unroll import Recurrent       # any cell, any dropout, lengths, resets

Loaded on first use, so that `import unroll` costs nothing and brings neither torch nor Lightning nor MLflow.
"""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.recurrence import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell, to_torch

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "to_torch"]

__getattr__, __dir__ = lazily(
    __name__, {"recurrence": ("GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "to_torch")}
)
