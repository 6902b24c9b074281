"""RNN, LSTM and GRU with torch.nn's constructor, shapes and parameter names, and the way from torch.nn to Recurrent.

They are torch.nn's classes, so whatever asks isinstance(module, torch.nn.LSTM), loads a state_dict, deep-copies, packs,
moves or prints one finds what it expects. What they add are `lengths` and `reset`, with the meaning that they have in
`Recurrent`: no packing, zero-length rows allowed, and rows that start anew in the middle of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from core.recurrence.cell import Cell
from core.recurrence.kernels import dispatch
from core.recurrence.kernels.fused import kernels
from core.recurrence.kernels.trace import shadow
from core.recurrence.rnn import Recurrent


class _LengthsAndResets(nn.RNNBase):
    """Gives a torch.nn recurrent module two more arguments; without them its forward is torch's own."""

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Any, Any]:
        """As torch.nn; additionally, for a padded batch, lengths [B] and reset [T, B] as in `Recurrent`.

        On the CPU in float32 our kernels compute it, to the last digits as torch does and faster; else torch's.

        Raises:
            TypeError: lengths or reset together with a PackedSequence, which has lengths of its own.
            ValueError: lengths or reset with an input that has no batch dimension, or of a wrong shape.
        """
        if lengths is None and reset is None:
            if isinstance(input, PackedSequence) and self._quick(input.data, hx):
                return self._packed(input, hx)
            if not isinstance(input, PackedSequence) and input.dim() == 3 and self._quick(input, hx):
                return self._run(input, hx, None, None)
            result: tuple[Any, Any] = super().forward(input, hx)
            return result
        if isinstance(input, PackedSequence):
            raise TypeError("lengths and reset need a padded batch [T, B, D], got a PackedSequence")
        if input.dim() != 3:
            raise ValueError(f"lengths and reset need a batch [T, B, D], got {list(input.shape)}")
        return self._run(input, hx, lengths, reset)

    def _quick(self, data: Tensor, hx: Any) -> bool:
        """Whether our kernels serve, so that only the speed is another; what torch would refuse is left to torch."""
        states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        tensors = (data, *states)
        usual = all(isinstance(t, Tensor) and t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        if not usual or data.shape[-1] != self.input_size or data.numel() == 0 or torch.is_autocast_enabled("cpu"):
            return False
        sizes = [tuple(state.shape) for state in states]
        rows = {size[1] for size in sizes if len(size) == 3}
        wanted = [(self.num_layers * (1 + self.bidirectional), *rows, width) for width in self._widths()]
        if states and (len(rows) != 1 or sizes != wanted):
            return False
        twin = self._twin()
        return all(dispatch.hindrance("fused", cast(Cell, cell), data, None) is None for cell in twin.cells)

    def _widths(self) -> list[int]:
        """Units of each state tensor."""
        return [self.proj_size or self.hidden_size, *([self.hidden_size] if self.mode == "LSTM" else [])]

    def _run(self, input: Tensor, hx: Any, lengths: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Any]:
        x = input.transpose(0, 1) if self.batch_first else input
        state = hx if hx is None or isinstance(hx, tuple) else (hx,)
        output, after = self._twin()(x, state, lengths=lengths, reset=reset)
        return (output.transpose(0, 1) if self.batch_first else output), (after if len(after) > 1 else after[0])

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """A padded batch in between: the kernels leave the padding out again."""
        x, lengths = pad_packed_sequence(input, batch_first=self.batch_first)
        output, after = self._run(x, hx, lengths, None)
        output = output.transpose(0, 1) if self.batch_first else output
        if input.sorted_indices is not None:
            output = output.index_select(1, input.sorted_indices)
        there = torch.arange(output.shape[1]) < input.batch_sizes.unsqueeze(1)
        return PackedSequence(output[there], input.batch_sizes, input.sorted_indices, input.unsorted_indices), after

    def _twin(self) -> Recurrent:
        """The same network as a Recurrent that runs on this module's weights.

        Its frame is made once, without weights; each call takes a shallow copy, so that two threads can use one module.
        """
        frames = self.__dict__.setdefault("_frames", _Frames())
        if self.dropout not in frames:
            with torch.device("meta"):
                frame = frames[self.dropout] = _like(self)
            for cell in frame.cells:
                kernels(cast(Cell, cell))  # so that the copies share what is compiled for one of them
        weights = {ours: getattr(self, theirs) for theirs, ours in _names(self)}
        twin: Recurrent = shadow(frames[self.dropout], lambda name, _: weights[name])
        return twin.train(self.training)


class _Frames(dict[float, Recurrent]):
    """By dropout, the one thing that users change later. Neither deep-copied nor pickled: made anew where needed."""

    def __deepcopy__(self, memo: Any) -> _Frames:
        return _Frames()

    def __reduce__(self) -> Any:
        return _Frames, ()


class RNN(_LengthsAndResets, nn.RNN):
    """torch.nn.RNN, with lengths and resets."""


class LSTM(_LengthsAndResets, nn.LSTM):
    """torch.nn.LSTM, with lengths and resets."""


class GRU(_LengthsAndResets, nn.GRU):
    """torch.nn.GRU, with lengths and resets."""


def from_torch(module: nn.RNNBase) -> Recurrent:
    """A Recurrent that computes what a torch.nn.RNN, LSTM or GRU computes (time first), with a copy of its weights."""
    recurrent = _like(module).to(next(module.parameters()))
    weights = {ours: getattr(module, theirs) for theirs, ours in _names(module)}
    recurrent.load_state_dict(weights)
    return recurrent.train(module.training)


def _like(module: nn.RNNBase) -> Recurrent:
    """A fresh Recurrent of the same kind and size."""
    options: dict[str, Any] = {"bias": module.bias}
    if module.mode.startswith("RNN"):
        options["f"] = module.mode.removeprefix("RNN_").lower()
    if module.proj_size:
        options["projection"] = module.proj_size
    return Recurrent(
        {"LSTM": "lstm", "GRU": "gru"}.get(module.mode, "elman"),
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bidirectional=module.bidirectional,
        dropout=module.dropout,
        **options,
    )


def _names(module: nn.RNNBase) -> Iterator[tuple[str, str]]:
    """(name in torch.nn, name in Recurrent) of each parameter."""
    directions = ("", "_reverse") if module.bidirectional else ("",)
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    kinds += ["weight_hr"] if module.proj_size else []
    for layer in range(module.num_layers):
        for direction, suffix in enumerate(directions):
            for kind in kinds:
                yield f"{kind}_l{layer}{suffix}", f"cells.{layer * len(directions) + direction}.{kind}"
