"""Cells, one family per file; cells that are linear in their state are in scan.py, convolutional ones in conv.py."""

from unroll.recurrence.cells.cornn import CoRNNCell
from unroll.recurrence.cells.elman import ElmanCell, IndRNNCell
from unroll.recurrence.cells.gru import GRUCell, LayerNormGRUCell
from unroll.recurrence.cells.lstm import LayerNormLSTMCell, LSTMCell
from unroll.recurrence.cells.minimal import LiGRUCell, MGUCell
from unroll.recurrence.cells.slstm import SLSTMCell

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
