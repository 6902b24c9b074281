"""RNN, LSTM and GRU with torch.nn's constructor, shapes and parameter names, and the way from torch.nn to Recurrent.

They are torch.nn's classes, so whatever asks isinstance(module, torch.nn.LSTM), loads a state_dict, deep-copies, packs,
moves or prints one finds what it expects. What they add are `lengths` and `reset`, with the meaning that they have in
`Recurrent`: no packing, zero-length rows allowed, and rows that start anew in the middle of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from core.recurrence.rnn import Recurrent


class _LengthsAndResets(nn.RNNBase):
    """Gives a torch.nn recurrent module two more arguments; without them its forward is torch's own."""

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Any, Any]:
        """As torch.nn; additionally, for a padded batch, lengths [B] and reset [T, B] as in `Recurrent`.

        Raises:
            TypeError: lengths or reset together with a PackedSequence, which has lengths of its own.
            ValueError: lengths or reset with an input that has no batch dimension, or of a wrong shape.
        """
        if lengths is None and reset is None:
            result: tuple[Any, Any] = super().forward(input, hx)
            return result
        if isinstance(input, PackedSequence):
            raise TypeError("lengths and reset need a padded batch [T, B, D], got a PackedSequence")
        if input.dim() != 3:
            raise ValueError(f"lengths and reset need a batch [T, B, D], got {list(input.shape)}")
        x = input.transpose(0, 1) if self.batch_first else input
        state = hx if hx is None or isinstance(hx, tuple) else (hx,)
        weights = {ours: getattr(self, theirs) for theirs, ours in _names(self)}
        output, after = functional_call(self._twin(), weights, (x, state), {"lengths": lengths, "reset": reset})
        return (output.transpose(0, 1) if self.batch_first else output), (after if len(after) > 1 else after[0])

    def _twin(self) -> Recurrent:
        """The same network as a Recurrent without weights of its own: it runs on those it is called with.

        Made anew for each call (a millisecond), so that two threads can use one module.
        """
        with torch.device("meta"):
            return _like(self).train(self.training)


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
