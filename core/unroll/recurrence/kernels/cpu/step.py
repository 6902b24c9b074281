"""One time step through a stack of cells in one C call, for streams and decoders; the gradients in another.

A sequence packs its weights once and reads them T times. A single step reads each weight once, so here they are
multiplied in place, and every call looks up their addresses: no copy is kept, so nothing can become stale, however the
weights are changed.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.call import parameter
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.compiled import HERE, load
from unroll.recurrence.kernels.cpu.cpu_kernel import Compiled
from unroll.recurrence.kernels.cpu.linear import deferred
from unroll.recurrence.kernels.cpu.native import PARAMS, STATES, Call
from unroll.recurrence.kernels.graph import CannotFuse
from unroll.recurrence.kernels.schedule import whole_lines
from unroll.recurrence.kernels.trace import shadow

PANEL = 48
"""most rows of a weight that are packed at a time"""
LEAST, READING = 1_350_000, 6
"""multiplications per step from which a second thread pays off, counting the reading of a weight as READING of them;
measured at the sizes of `invoke bench --only step` on two cores"""
MOST_ROWS = 1024
"""most rows of a batch: beyond, a step is no longer short, and the loop over `step` is as fast"""

SIZES = 16
"""batch sizes whose buffers are kept"""

_pointer, _long = ctypes.c_void_p, ctypes.c_long
_PLAIN = (Tensor, nn.Parameter)
_FLOAT, _STRIDED = torch.float32, torch.strided
_TORCH = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


class _Matrix(ctypes.Structure):
    """`Matrix` of step.c."""

    _fields_ = [("start", _pointer), ("apart", _long), ("pack", _pointer), ("product", _pointer)]


class _Parts(ctypes.Structure):
    """`Parts` of step.c."""

    _fields_ = [("count", _long), ("place", _long * PARAMS), ("offset", _long * PARAMS), ("apart", _long * PARAMS)]


class _Layer(ctypes.Structure):
    """`Layer` of step.c."""

    _fields_ = [
        ("call", Call), ("forward", _pointer), ("keep", _pointer), ("backward", _pointer),
        ("width", _long), ("inputs", _long), ("outputs", _long),
        ("aliased", _long), ("states", _long), ("sizes", _long * STATES), ("matrix", _long), ("bias", _long * 2),
        ("pack", _pointer), ("product", _pointer),
        ("params", _long), ("param", _long * PARAMS), ("param_offset", _long * PARAMS),
        ("packed", _Parts), ("back", _Parts), ("matrices", _Matrix * PARAMS),
        ("u", _pointer), ("spare", _pointer),
        ("over_u", _long), ("saved", _long), ("gradients", _long), ("vectors", _long),
    ]  # fmt: skip


class Single:
    """One step of a stack of cells whose states have the same widths; each cell reads the output of the one below.

    Args:
        cells: only what they compute is kept; weights come with each call.
        kernels: of the cells.
        mode: torch.nn's mode of the cells, or "".

    Attributes:
        states, outputs: widths.
        names: (layer, name) of each weight, in the order in which `run` takes them; torch.nn's order for its cells.
        shapes: of the weights.
        work: multiplications per row.
        room: floats per row that `run` saves for `back`.
        gradients: floats per row that `back` uses as scratch.

    Raises:
        CannotFuse, CannotCompile: it is not supported; says why.
    """

    def __init__(self, cells: Sequence[Cell], kernels: Sequence[Compiled], mode: str = "") -> None:
        if not all(kernel.direct for kernel in kernels):
            raise CannotFuse("its project is not one product")
        self.kernels, self.library, self.mode = kernels, _library(), mode
        self.sides = [_input_side(cell) for cell in cells]
        self.states, self.outputs = kernels[0].program.states, kernels[-1].program.outputs
        if any(kernel.program.states != self.states for kernel in kernels):
            raise CannotFuse("its layers have states of different widths")
        self._own = [
            list(dict.fromkeys([*side, *kernel.names])) for side, kernel in zip(self.sides, kernels, strict=True)
        ]
        if mode:
            self._own = [sorted(own, key=_TORCH.index) for own in self._own]
        self._deep = any("." in name for own in self._own for name in own)
        self.names = [(layer, name) for layer, own in enumerate(self._own) for name in own]
        self.shapes = [parameter(cells[layer], name).shape for layer, name in self.names]
        self.width, self.work = cells[0].input_size, sum(shape.numel() for shape in self.shapes)
        self._table = struct.Struct(f"{2 + 2 * len(self.states) + len(self.names)}N")
        self._wanted = struct.Struct(f"{1 + 4 * len(kernels)}N")
        programs = [kernel.program for kernel in kernels]
        self.room = sum(made.inputs * made.over_u + made.saved + sum(made.states) for made in programs)
        below = sum(cell.input_size for cell in cells[1:])
        self.gradients = below + sum(made.inputs + sum(made.products) for made in programs)
        self._frames: dict[tuple[int, int], list[_Frame]] = {}

    def weights_of(self, cells: Collection[Cell]) -> list[Tensor]:
        """The current weights of these cells."""
        if self._deep:
            return [parameter(cell, name) for cell, own in zip(cells, self._own, strict=True) for name in own]
        if len(self._own) == 1:
            [cell] = cells
            mine: Any = cell._parameters
            return [mine[name] for name in self._own[0]]
        found: list[Any] = []
        for cell, own in zip(cells, self._own, strict=True):
            found.extend(map(cell._parameters.__getitem__, own))
        return found

    def takes(self, x: Tensor, given: Sequence[Any], weights: Sequence[Any], *layers: int) -> bool:
        """Whether C can read all of them: x [B, D], states [*layers, B, n] and weights of the right shapes."""
        if x.dim() != 2 or len(given) != len(self.states):
            return False
        batch, width = x.shape
        if width != self.width or not 0 < batch <= MOST_ROWS:
            return False
        for tensor in (x, *given):
            if type(tensor) not in _PLAIN or tensor.dtype is not _FLOAT or not tensor.is_cpu:
                return False
            if tensor.layout is not _STRIDED or tensor.is_neg():
                return False
        for state, units in zip(given, self.states, strict=True):
            if state.shape != (*layers, batch, units):
                return False
        for weight in weights:
            if type(weight) not in _PLAIN or weight.dtype is not _FLOAT or not weight.is_cpu:
                return False
            if not weight.is_contiguous() or weight.is_neg():
                return False
        return True

    def run(
        self,
        x: Tensor,
        given: Sequence[Any],
        weights: Sequence[Any],
        *layers: int,
        output: bool = True,
        checked: bool = False,
    ) -> tuple[list[Tensor], Tensor | None] | None:
        """One step, in a plain call.

        Args:
            x: [B, D].
            given: states [*layers, B, n].
            weights: of the right shapes.
            output: if False, no output besides the hidden state, of which it is a copy.
            checked: whether to reject a state that holds NaN.

        Returns:
            The output [B, O], if requested, and the states after; and what `back` needs, if autograd records the call.
            None, without side effects, if a tensor is not float32 in CPU memory, has another shape, or is rejected, or
            if autograd records the call and there is no `mode`.
        """
        if not self.takes(x, given, weights, *layers):
            return None
        batch, keeps = x.shape[0], torch.is_grad_enabled() and any(map(_followed, (*weights, x, *given)))
        if keeps and not self.mode:
            return None
        x, given = x.contiguous(), [state.contiguous() for state in given]
        # Like x and the states: on the CPU and in float32, whatever torch's defaults are.
        after = [torch.empty_like(state) for state in given]
        made = [x.new_empty(batch, self.outputs), *after] if output else after
        kept = x.new_empty(batch * self.room) if keeps else None
        frame = self._frame(batch)
        out = made[0].data_ptr() if output else 0
        self._table.pack_into(frame.table, 0, x.data_ptr(), out, *map(_address, (*given, *after, *weights)))
        to = None if kept is None else kept.data_ptr()
        refused = self.library.step(frame.start, len(self.kernels), frame.where, checked, to)
        frame.home.append(frame)
        return None if refused else (made, kept)

    def back(
        self,
        x: Tensor,
        d_output: Tensor | None,
        given: Sequence[Tensor],
        d_states: Sequence[Tensor | None],
        weights: Sequence[Tensor],
        kept: Tensor,
        into: Sequence[Tensor | None],
        by_states: bool,
    ) -> None:
        """The gradients of a step of torch.nn's cells, for which `run` has saved what is needed.

        Args:
            x, given, weights: the arguments of `run`.
            d_output: [B, O], contiguous; None: zero.
            d_states: gradients of the states after the step, contiguous, overwritten by those of the states before it;
                None: zero, and those before the step are lost.
            kept: what `run` returned for it.
            into: where to write the gradients by x and the weights; None: they are not needed.
            by_states: whether those of the states before the step are needed.
        """
        x, given = x.contiguous(), [state.contiguous() for state in given]
        frame = self._frame(x.shape[0])
        if frame.work is None:
            frame.work = frame._room((x.shape[0], self.gradients))
        tensors = (x, d_output, *given, *d_states, *weights)
        self._table.pack_into(frame.table, 0, *_addresses(tensors))
        at = _addresses(into)
        if len(weights) == 2 * len(self.kernels):  # without biases
            at = [at[0], *(one for layer in range(1, len(at), 2) for one in (*at[layer : layer + 2], 0, 0))]
        wanted = self._wanted.pack(*at)
        self.library.back(
            frame.start, len(self.kernels), frame.table, kept.data_ptr(), frame.work.data_ptr(), wanted, by_states
        )
        frame.home.append(frame)

    def _frame(self, batch: int) -> _Frame:
        """A frame that no call is using now: two threads never share one."""
        threads = native.threads() if (batch + READING) * self.work >= LEAST else 1
        frames = self._frames.get((batch, threads))
        if frames is None:
            if len(self._frames) >= SIZES:
                self._frames.pop(next(iter(self._frames)), None)
            frames = self._frames.setdefault((batch, threads), [])
        return frames.pop() if frames else _Frame(self, batch, threads, frames)

    def holds_nan(self, tensor: Tensor) -> bool:
        """For a float32 tensor on the CPU."""
        tensor = tensor.contiguous()
        return bool(self.library.holds_nan(tensor.data_ptr(), tensor.numel()))


class _Frame:
    """The memory of a call: the layers as C structures, the table of addresses, and scratch."""

    def __init__(self, single: Single, batch: int, threads: int, home: list[_Frame]) -> None:
        self.home = home
        self.work: Tensor | None = None
        self.layers = (_Layer * len(single.kernels))()
        self.start = ctypes.addressof(self.layers)
        self.table = ctypes.create_string_buffer(single._table.size)
        self.where = ctypes.addressof(self.table)
        self.count, self.offset = _long(batch), _long(0)
        self.held: list[Tensor] = []
        states = len(single.states)
        first = 2 + 2 * states
        places = {key: first + number for number, key in enumerate(single.names)}
        shapes = dict(zip(single.names, single.shapes, strict=True))
        for index, (layer, kernel) in enumerate(zip(self.layers, single.kernels, strict=True)):
            made, (matrix, *biases) = kernel.program, single.sides[index]
            layer.width = shapes[index, matrix][1]
            layer.inputs, layer.outputs, layer.aliased, layer.states = made.inputs, made.outputs, made.aliased, states
            layer.sizes[:states] = made.states
            layer.matrix = places[index, matrix]
            layer.bias[:] = [*(places[index, bias] for bias in biases), -1, -1][:2]
            layer.forward, layer.keep, layer.backward, layer.pack, layer.product = (
                ctypes.cast(function, _pointer)
                for function in (
                    kernel.forward_bare, kernel.forward_keep, kernel.backward, kernel.base.pack, kernel.base.product
                )
            )  # fmt: skip
            layer.params = len(made.params)
            for k, (name, offset, _) in enumerate(made.params):
                layer.param[k], layer.param_offset[k] = places[index, name], offset
            for parts, packed in ((layer.packed, made.forward), (layer.back, made.backward)):
                parts.count = len(packed)
                for k, part in enumerate(packed):
                    parts.place[k], parts.apart[k] = places[index, part.param], shapes[index, part.param][1]
                    parts.offset[k] = part.row * parts.apart[k] + part.column
            layer.over_u, layer.saved, layer.gradients = made.over_u, made.saved, sum(made.products)
            layer.vectors = sum(width for _, _, width in made.d_params)
            layer.call = self._call(kernel, layer.width, batch, threads)
            layer.u, layer.spare = layer.call.u, self._room((batch, made.outputs + sum(made.states))).data_ptr()

    def _room(self, shape: tuple[int, int]) -> Tensor:
        """Memory that lives as long as the frame."""
        self.held.append(torch.empty(shape, dtype=torch.float32, device="cpu"))
        return self.held[-1]

    def _call(self, kernel: Compiled, width: int, batch: int, threads: int) -> Call:
        made = kernel.program
        size = whole_lines(max(batch * made.scratch, PANEL * max(made.depth, made.inputs, width)) + 64)
        vectors = sum(width for _, _, width in made.d_params)
        wanted = ((1 + threads, size), (batch, made.inputs), (batch, made.outputs), (threads, vectors))
        scratch, u, out, d_param = map(self._room, wanted)
        call = Call(1, batch, threads, threads > 1, ctypes.addressof(self.count), ctypes.addressof(self.offset))
        call.u, call.out, call.d_param = u.data_ptr(), out.data_ptr(), d_param.data_ptr()
        call.scratch, call.scratch_size = scratch.data_ptr(), size
        return call


_address = Tensor.data_ptr
_followed = attrgetter("requires_grad")


def _addresses(tensors: Iterable[Tensor | None]) -> list[int]:
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


class _Named:
    """A parameter, or a sum of parameters, by name, at the input side of a cell."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __add__(self, other: object) -> _Named:
        return _Named(*self.names, *other.names) if isinstance(other, _Named) else NotImplemented

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise CannotFuse("an operand of the product in its project is computed")


def _input_side(cell: Cell) -> list[str]:
    """The names of the matrix and of up to two biases that are added."""
    try:
        _, matrix, bias = deferred(
            shadow(cell, lambda name, _: _Named(name)), torch.zeros(1, 1, cell.input_size, device="cpu")
        )
    except (AttributeError, TypeError) as error:
        raise CannotFuse(f"its project: {error}") from error
    if not isinstance(matrix, _Named) or not isinstance(bias, _Named | None) or len(matrix.names) > 1:
        raise CannotFuse("an operand of the product in its project is computed")
    biases = [] if bias is None else bias.names
    if len(biases) > 2:
        raise CannotFuse("its project adds more than two biases")
    return [*matrix.names, *biases]


@functools.cache
def _library() -> ctypes.CDLL:
    library = load((HERE / "step.c").read_text(), "step", "back", "holds_nan")
    library.step.argtypes = [_pointer, _long, _pointer, ctypes.c_int, _pointer]
    library.back.argtypes = [_pointer, _long, _pointer, _pointer, _pointer, _pointer, ctypes.c_int]
    library.back.restype = None
    library.holds_nan.argtypes = [_pointer, _long]
    library.step.restype = library.holds_nan.restype = ctypes.c_int
    return library
