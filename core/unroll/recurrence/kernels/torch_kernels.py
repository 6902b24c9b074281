"""torch's own fused kernels (oneDNN on the CPU, cuDNN on the GPU) for the cells that they compute exactly.

One call runs one layer in one direction. The sequence is cut where a row ends or is reset, and the next call continues
with the remaining rows: no padding is computed, and on the CPU that is about twice as fast as torch's packed sequences
even if all rows have different lengths. What these kernels cannot do is left to the loop over `step`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, where
from unroll.recurrence.cells.elman import ElmanCell
from unroll.recurrence.cells.gru import GRUCell
from unroll.recurrence.cells.lstm import LSTMCell

_VF: Any = torch._VF


def serves(cell: Cell) -> bool:
    """Whether torch has a kernel for exactly this cell; not for a subclass, which may have changed `step`."""
    if type(cell) is ElmanCell:
        return cell.f in (torch.tanh, torch.relu)
    if type(cell) is LSTMCell:
        # On the CPU torch falls back to a slow loop for projections, with a warning.
        return cell.peephole is None and not cell.coupled and (cell.weight_hr is None or cell.weight_hr.is_cuda)
    return type(cell) is GRUCell and cell.reset_gate == "after"


def mode(cell: Cell) -> str:
    """torch.nn's mode for this cell; "" if torch has no function for one step of it."""
    if not serves(cell) or getattr(cell, "weight_hr", None) is not None:
        return ""
    if isinstance(cell, ElmanCell):
        return "RNN_RELU" if cell.f is torch.relu else "RNN_TANH"
    return "LSTM" if isinstance(cell, LSTMCell) else "GRU"


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
) -> tuple[Tensor, State]:
    """The result of `cell.sequence(cell.project(x), ...)`, by one fused call per interval without ends or resets."""
    if lengths is None and reset is None:
        return _kernel(cell, x, state)
    if lengths is None:
        return _stretches(cell, x, state, torch.full(x.shape[1:2], len(x), device="cpu"), reset, fresh)
    order = lengths.argsort(descending=True)
    rows = order.to(x.device)
    reset = None if reset is None else reset.index_select(1, rows)
    fresh = None if fresh is None else _select(fresh, rows)
    output, after = _stretches(cell, x.index_select(1, rows), _select(state, rows), lengths[order], reset, fresh)
    back = rows.argsort()
    return output.index_select(1, back), _select(after, back)


def _stretches(
    cell: Cell, x: Tensor, state: State, lengths: Tensor, reset: Tensor | None, fresh: State | None
) -> tuple[Tensor, State]:
    """Rows are sorted by descending length, so that the remaining ones always come first."""
    batch = x.shape[1]
    outputs, finished = [], []
    for begin, end in pairwise(_edges(lengths, reset)):
        alive = int((lengths > begin).sum())
        finished.append(tuple(tensor[alive:] for tensor in state))
        state = tuple(tensor[:alive] for tensor in state)
        if reset is not None and fresh is not None:
            state = where(reset[begin, :alive], tuple(tensor[:alive] for tensor in fresh), state)
        output, state = _kernel(cell, x[begin:end, :alive], state)
        outputs.append(output if alive == batch else F.pad(output, (0, 0, 0, batch - alive)))
    finished.append(state)
    rest = len(x) - sum(map(len, outputs))
    outputs.extend([x.new_zeros(rest, batch, cell.output_size)] * (rest > 0))
    after = zip(*reversed(finished), strict=True)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), tuple(torch.cat(parts) for parts in after)


def _edges(lengths: Tensor, reset: Tensor | None) -> list[int]:
    """The boundaries of the intervals: the first step, steps before which a row is reset, steps where a row ends."""
    edges = {0, *lengths.tolist()}
    if reset is not None:
        edges.update(reset.any(1).nonzero().flatten().tolist())
    return sorted(edges)


def _select(state: State, rows: Tensor) -> State:
    return tuple(tensor.index_select(0, rows) for tensor in state)


def _kernel(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    """One call of torch's kernel over x [T, B, D]."""
    weights = _weights(cell)
    call = _VF.lstm if isinstance(cell, LSTMCell) else _VF.gru if isinstance(cell, GRUCell) else _elman(cell)
    hidden = tuple(tensor.unsqueeze(0).contiguous() for tensor in state)
    given = hidden if isinstance(cell, LSTMCell) else hidden[0]
    # bias, layers, dropout, training, bidirectional, batch first
    output, *after = call(x, given, weights, len(weights) >= 4, 1, 0.0, cell.training, False, False)
    return output, tuple(tensor[0] for tensor in after)


def _elman(cell: Cell) -> Any:
    return _VF.rnn_relu if isinstance(cell, ElmanCell) and cell.f is torch.relu else _VF.rnn_tanh


def _weights(cell: Cell) -> list[Tensor]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [weight for name in names if (weight := getattr(cell, name, None)) is not None]
