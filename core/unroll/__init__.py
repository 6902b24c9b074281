"""The recurrent core of Unroll, and its tasks for notebooks and programs.

    from unroll import LSTM            # a drop-in for torch.nn.LSTM
    from unroll import Recurrent       # any cell, any dropout, lengths, resets

    import unroll
    [run] = unroll.train("speech")     # what `invoke train` does; see docs/python.md
    unroll.load(run).predict("a.wav")

From the bottom up: `recurrence` (cells, state, gradient); `sequence` and `data` (building blocks of applications);
`app` and `config` (their contract); `training`, `tracking`; `comparison`, `diagnosis`, `search`; `commands` (what
each task does); and `api`, the same from Python. CONTRIBUTING.md lists all layers, and where a change goes.

Names are loaded on first use, so that `import unroll` costs nothing and imports neither torch, Lightning nor MLflow.
"""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.api import compare, diagnose, load, train
    from unroll.app import App
    from unroll.recurrence import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell, to_torch

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "App",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "compare",
    "diagnose",
    "load",
    "to_torch",
    "train",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "api": ("compare", "diagnose", "load", "train"),
        "app": ("App",),
        "recurrence": ("GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "to_torch"),
    },
)
