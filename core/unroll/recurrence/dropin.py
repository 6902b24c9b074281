"""RNN, LSTM and GRU with torch.nn's constructor, shapes and parameter names, and conversion from torch.nn to Recurrent.

They subclass torch.nn's, so code that checks isinstance(module, torch.nn.LSTM), loads a state_dict, deep-copies, packs,
moves or prints them works unchanged. They add `lengths` and `reset`, which mean the same as in `Recurrent`: no packing,
rows of length zero, and rows that are reset in the middle of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unroll.recurrence import one_step
from unroll.recurrence.cell import Cell
from unroll.recurrence.checks import check_input, check_kind
from unroll.recurrence.context import compiled_around, interceptor, plain
from unroll.recurrence.dropin_cells import CELLS, FRAMES, GRUCell, LSTMCell, RNNCell, copied, lasting
from unroll.recurrence.kernels import dispatch
from unroll.recurrence.kernels.kernel_cache import kernels
from unroll.recurrence.kernels.trace import shadow
from unroll.recurrence.rnn import Recurrent


class _LengthsAndResets(nn.RNNBase):
    """Adds two arguments to a torch.nn recurrent module; without them its forward behaves as torch's own."""

    def forward(self, input: Any, hx: Any = None, lengths: Any = None, reset: Tensor | None = None) -> tuple[Any, Any]:
        """As torch.nn; additionally, for a padded batch, lengths [B] and reset [T, B] as in `Recurrent`.

        Plain float32 calls on the CPU run on our kernels, which are faster and agree with torch's up to rounding; all
        others run on torch's. See `unroll.recurrence.context` for what is not a plain call.

        Raises:
            TypeError: lengths or reset together with a PackedSequence, which has its own lengths.
            ValueError: lengths or reset of the wrong shape, or with an input that has no batch dimension.
            RuntimeError: hx of a shape that torch.nn does not accept.
        """
        if compiled_around(input.data if isinstance(input, PackedSequence) else input):
            result: tuple[Any, Any] = plain(type(self).forward)(self, input, hx, lengths=lengths, reset=reset)
            return result
        if lengths is not None or reset is not None:
            return self._extended(input, hx, lengths, reset)
        if isinstance(input, Tensor) and input.dim() == 3 and input.shape[1 if self.batch_first else 0] == 1:
            found = one_step.of_module(self, input, hx)
            return super().forward(input, hx) if found is None else found
        twin = self._serving(input, hx) if interceptor() is None else None
        if twin is not None:
            return self._packed(twin, input, hx) if isinstance(input, PackedSequence) else self._run(twin, input, hx)
        result = super().forward(input, hx)
        return result

    def _extended(self, input: Any, hx: Any, lengths: Any, reset: Tensor | None) -> tuple[Any, Any]:
        """What torch.nn cannot do: runs on our network, with any backend."""
        if isinstance(input, PackedSequence):
            raise TypeError("lengths and reset need a padded batch [T, B, D], got a PackedSequence")
        if input.dim() != 3:
            raise ValueError(f"lengths and reset need a batch [T, B, D], got {list(input.shape)}")
        self._update_flat_weights()
        if hx is not None:
            self.check_forward_args(input, hx, None)
            for state in hx if isinstance(hx, tuple | list) else (hx,):
                check_kind("hx", state, input)
        twin = self._twin()
        check_input(input, twin._cell(0), "input", self.batch_first)
        return self._run(twin, input, hx, lengths, reset)

    def _serving(self, input: Any, hx: Any) -> Recurrent | None:
        """The network whose kernels compute this plain call; None if torch computes it or raises its own error."""
        packed = isinstance(input, PackedSequence)
        data = input.data if packed else input
        states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        self._update_flat_weights()
        tensors = (data, *states, *self._flat_weights)
        if not all(_usual(tensor) for tensor in tensors) or torch.is_autocast_enabled("cpu"):
            return None
        if data.dim() != (2 if packed else 3) or data.shape[-1] != self.input_size or data.numel() == 0:
            return None
        rows = int(input.batch_sizes[0]) if packed else data.shape[0 if self.batch_first else 1]
        wanted = [(self.num_layers * (1 + self.bidirectional), rows, width) for width in self._widths()]
        if states and [tuple(state.shape) for state in states] != wanted:
            return None
        if [cast(Tensor, weight).shape for weight in self._flat_weights] != self._frame().shapes:
            return None
        twin = self._twin()
        able = all(dispatch.unsupported_reason("fused", cast(Cell, cell), data, None) is None for cell in twin.cells)
        return twin if able else None

    def _widths(self) -> list[int]:
        """Units of each state tensor."""
        return [self.proj_size or self.hidden_size, *([self.hidden_size] if self.mode == "LSTM" else [])]

    def _run(
        self, twin: Recurrent, input: Tensor, hx: Any, lengths: Any = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        x = input.transpose(0, 1) if self.batch_first else input
        state = None if hx is None else tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        output, after = twin._sequence(x, state, lengths, reset)
        return (output.transpose(0, 1) if self.batch_first else output), (after if len(after) > 1 else after[0])

    def _packed(self, twin: Recurrent, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """By way of a padded batch: the kernels skip the padding."""
        x, lengths = pad_packed_sequence(input, batch_first=self.batch_first)
        output, after = self._run(twin, x, hx, lengths)
        output = output.transpose(0, 1) if self.batch_first else output
        if input.sorted_indices is not None:
            output = output.index_select(1, input.sorted_indices)
        there = torch.arange(output.shape[1], device="cpu") < input.batch_sizes.unsqueeze(1)
        return PackedSequence(output[there], input.batch_sizes, input.sorted_indices, input.unsorted_indices), after

    def _twin(self) -> Recurrent:
        """The same network as a Recurrent over the weights that torch.nn would use.

        Its frame is made once, without weights; each call takes a shallow copy, so that threads can share one module.
        """
        frame = self._frame()
        weights = dict(zip(frame.names, self._flat_weights, strict=True))
        twin: Recurrent = shadow(frame.network, lambda name, _: weights[name])
        return twin.train(self.training)

    def _frame(self) -> _Frame:
        frames: dict[tuple[float, str], _Frame] = self.__dict__.setdefault(FRAMES, {})
        key = self.dropout, self.mode
        if key not in frames:
            frames[key] = _Frame.of(self)
        return frames[key]

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled."""
        return lasting(super().__getstate__())  # type: ignore[no-untyped-call]  # torch: no types

    def __prepare_scriptable__(self) -> nn.Module:
        """torch.jit.script compiles torch.nn's module over the same parameters; users' subclasses are left to them."""
        return _torch_module(self) if type(self) in (RNN, LSTM, GRU) else self


class _Frame(NamedTuple):
    """A drop-in as a network without weights, kept by dropout and mode, which users may change later.

    Attributes:
        network: on the meta device.
        names: of its parameters, in the order of torch.nn's `_flat_weights`.
        shapes: of its parameters.
    """

    network: Recurrent
    names: list[str]
    shapes: list[torch.Size]

    @staticmethod
    def of(module: nn.RNNBase) -> _Frame:
        """Built outside any mode that the call may be in, because it outlives the call."""
        with torch.inference_mode(False), torch.device("meta"):
            network = _like(module)
        for cell in network.cells:
            kernels(cast(Cell, cell))  # so that the copies share their compiled kernels
        names = [ours for _, ours in _names(module)]
        return _Frame(network, names, [network.get_parameter(name).shape for name in names])


def _usual(tensor: Any) -> bool:
    """Whether this is a dense float32 tensor on the CPU, and not of a subclass."""
    kind = type(tensor) in (Tensor, nn.Parameter)
    return kind and tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.layout == torch.strided


class RNN(_LengthsAndResets, nn.RNN):
    """torch.nn.RNN, with lengths and resets."""


class LSTM(_LengthsAndResets, nn.LSTM):
    """torch.nn.LSTM, with lengths and resets."""


class GRU(_LengthsAndResets, nn.GRU):
    """torch.nn.GRU, with lengths and resets."""


_TORCH: dict[type[nn.Module], type[nn.Module]] = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU, **CELLS}


def to_torch(model: nn.Module) -> nn.Module:
    """The model with torch.nn's RNN, LSTM, GRU and cells in place of our drop-ins, over the same parameters.

    For tools that know torch.nn's classes by their exact type: torch.ao.quantization.quantize_dynamic, torch.fx,
    counters of operations, Opacus. Modules that contain no drop-in are shared with the model, all others are shallow
    copies: the model itself is unchanged, and training either one trains both.

    Args:
        model: any module, or a drop-in itself.

    Returns:
        A model that computes the same; the model itself if it contains no drop-in.

    Raises:
        TypeError: a drop-in is subclassed or parametrised: what that adds would be lost.
    """
    return _converted(model, {})


def _converted(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """`done` keeps a module that is used in two places one module."""
    if module in done:
        return done[module]
    if isinstance(module, _LengthsAndResets | RNNCell | LSTMCell | GRUCell):
        if type(module) not in _TORCH:
            kind = type(module).__name__
            raise TypeError(
                f"to_torch cannot tell what {kind} adds to a drop-in; give it unroll.LSTM, GRU or RNN itself"
            )
        done[module] = _torch_module(module)
        return done[module]
    done[module] = module
    children = {name: None if c is None else _converted(c, done) for name, c in module._modules.items()}
    if any(children[name] is not child for name, child in module._modules.items()):
        done[module] = copied(module, type(module))
        done[module].__dict__["_modules"] = children
    return done[module]


def _torch_module(module: nn.Module) -> nn.Module:
    if isinstance(module, _LengthsAndResets):
        module._update_flat_weights()
    return copied(module, _TORCH[type(module)])


def from_torch(module: nn.RNNBase) -> Recurrent:
    """A Recurrent (time first) equivalent to a torch.nn.RNN, LSTM or GRU, with a copy of its weights."""
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
