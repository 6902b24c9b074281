"""The cells, one family per file; those that are linear in their state are in scan.py, those over maps in conv.py."""

from core.recurrence.cells.cornn import CoRNNCell
from core.recurrence.cells.elman import ElmanCell, IndRNNCell
from core.recurrence.cells.gru import GRUCell, LayerNormGRUCell
from core.recurrence.cells.lstm import LayerNormLSTMCell, LSTMCell
from core.recurrence.cells.minimal import LiGRUCell, MGUCell
from core.recurrence.cells.slstm import SLSTMCell

__all__ = [
    "CoRNNCell",
    "ElmanCell",
    "GRUCell",
    "IndRNNCell",
    "LSTMCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LiGRUCell",
    "MGUCell",
    "SLSTMCell",
]
