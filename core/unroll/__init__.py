"""The recurrent core of Unroll.

    from unroll import LSTM            # a drop-in for torch.nn.LSTM
    from unroll import Recurrent       # any cell, any dropout, lengths, resets

Loaded on first use, so that `import unroll` costs nothing and brings neither torch nor Lightning nor MLflow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unroll.recurrence import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell, to_torch

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "to_torch"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("unroll.recurrence"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
