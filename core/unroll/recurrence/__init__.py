"""Recurrent cells, the network over any of them, and the state protocol. Imports no other part of unroll.

Loaded on first use, so that the names of cells are available without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unroll.recurrence import state
    from unroll.recurrence.cell import Cell, State
    from unroll.recurrence.conformance import check_cell
    from unroll.recurrence.dropin import GRU, LSTM, RNN, from_torch, to_torch
    from unroll.recurrence.dropin_cells import GRUCell, LSTMCell, RNNCell
    from unroll.recurrence.dropout import VariationalDropout
    from unroll.recurrence.registry import CELLS
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

_PLACES = {
    "registry": ("CELLS",),
    "cell": ("Cell", "State"),
    "conformance": ("check_cell",),
    "dropin": ("GRU", "LSTM", "RNN", "from_torch", "to_torch"),
    "dropin_cells": ("GRUCell", "LSTMCell", "RNNCell"),
    "dropout": ("VariationalDropout",),
    "rnn": ("Recurrent",),
}


def __getattr__(name: str) -> Any:
    if name == "state":
        return import_module("unroll.recurrence.state")
    module = next((module for module, names in _PLACES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if module != "registry":
        import_module("unroll.recurrence.safe_globals")
    return getattr(import_module(f"unroll.recurrence.{module}"), name)


def __dir__() -> list[str]:
    return __all__
