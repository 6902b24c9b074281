"""torch's own fused kernels (oneDNN on the CPU, cuDNN on the GPU) for the cells that they compute exactly.

One call runs one layer in one direction over a whole sequence. Lengths go in as torch's packed form, resets by cutting
the sequence where a row starts anew. Everything that these kernels cannot do is left to the loop over `step`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from core.recurrence.cell import Cell, State, where
from core.recurrence.cells.elman import ElmanCell
from core.recurrence.cells.gru import GRUCell
from core.recurrence.cells.lstm import LSTMCell

_VF: Any = torch._VF


def serves(cell: Cell) -> bool:
    """Whether torch has a kernel for exactly this cell. A subclass may have changed `step`, so it is not served."""
    if type(cell) is ElmanCell:
        return cell.name_of_f in ("tanh", "relu")
    if type(cell) is LSTMCell:
        # On the CPU torch falls back to a slow loop for projections, with a warning.
        return cell.peephole is None and not cell.coupled and (cell.weight_hr is None or cell.weight_hr.is_cuda)
    return type(cell) is GRUCell and cell.reset_gate == "after"


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
) -> tuple[Tensor, State]:
    """What `cell.sequence(cell.project(x), ...)` gives, by one fused call per stretch without a reset."""
    outputs, begins = [], _begins(reset)
    for begin, end in zip(begins, [*begins[1:], len(x)], strict=True):
        if reset is not None and fresh is not None:
            state = where(reset[begin], fresh, state)
        left = None if lengths is None else (lengths - begin).clamp(0, end - begin)
        output, state = _stretch(cell, x[begin:end], state, left)
        outputs.append(output)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


def _begins(reset: Tensor | None) -> list[int]:
    """The steps at which a stretch begins: the first, and those before which some row is reset."""
    if reset is None:
        return [0]
    later = reset[1:].flatten(1).any(1).nonzero().flatten() + 1
    return [0, *later.tolist()]


def _stretch(cell: Cell, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    if lengths is None or bool((lengths == len(x)).all()):
        return _kernel(cell, x, state)
    rows = lengths.nonzero().flatten()
    if len(rows) == 0:
        return x.new_zeros(*x.shape[:2], cell.output_size), state
    rows = rows[lengths[rows].argsort(descending=True)]
    here = rows.to(x.device)
    packed = pack_padded_sequence(x.index_select(1, here), lengths[rows])
    output, after = _kernel(cell, packed, tuple(tensor.index_select(0, here) for tensor in state))
    padded, _ = pad_packed_sequence(output, total_length=len(x))
    full = padded.new_zeros(*x.shape[:2], cell.output_size).index_copy(1, here, padded)
    return full, tuple(old.to(new.dtype).index_copy(0, here, new) for old, new in zip(state, after, strict=True))


def _kernel(cell: Cell, x: Any, state: State) -> tuple[Any, State]:
    """One call of torch's kernel over a tensor [T, B, D] or a packed, sorted sequence of it."""
    weights = _weights(cell)
    call = _VF.lstm if isinstance(cell, LSTMCell) else _VF.gru if isinstance(cell, GRUCell) else _elman(cell)
    hidden = tuple(tensor.unsqueeze(0).contiguous() for tensor in state)
    given = hidden if isinstance(cell, LSTMCell) else hidden[0]
    options = (weights, len(weights) >= 4, 1, 0.0, cell.training, False)  # bias, layers, dropout, training, both ways
    if isinstance(x, PackedSequence):
        data, *after = call(x.data, x.batch_sizes, given, *options)
        return PackedSequence(data, x.batch_sizes), tuple(tensor[0] for tensor in after)
    output, *after = call(x, given, *options, False)
    return output, tuple(tensor[0] for tensor in after)


def _elman(cell: Cell) -> Any:
    return _VF.rnn_relu if isinstance(cell, ElmanCell) and cell.name_of_f == "relu" else _VF.rnn_tanh


def _weights(cell: Cell) -> list[Tensor]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [weight for name in names if (weight := getattr(cell, name, None)) is not None]
