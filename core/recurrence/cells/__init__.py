"""The cells, one family per file."""

from core.recurrence.cells.elman import ElmanCell
from core.recurrence.cells.gru import GRUCell
from core.recurrence.cells.lstm import LSTMCell

__all__ = ["ElmanCell", "GRUCell", "LSTMCell"]
