"""The recurrent core of Unroll.

    from unroll import LSTM            # a drop-in for torch.nn.LSTM
    from unroll import Recurrent       # any cell, any dropout, lengths, resets

From the ground up: `recurrence` (cells, state, gradient); `sequence` and `data` (what applications are made of);
`app` and `config` (their contract); `training`, `tracking`; `comparison`, `diagnosis`, `search`; and `commands`, what
each task does. CONTRIBUTING.md has all layers, and where a change goes.

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
