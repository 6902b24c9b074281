"""Steps without any allocation or decision on the way: for streams, and for small devices.

    stepper = Stepper(network, weights="int8")
    for x in stream:                       # [B, D]
        output = stepper.step(x)           # [B, H], overwritten by the next step

The weights are packed once, when the stepper is created: later changes to the network have no effect.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell, State
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import Kernel
from unroll.recurrence.kernels.cpu.linear import deferred, pack, start
from unroll.recurrence.kernels.cpu.native import Call, address
from unroll.recurrence.kernels.kernel_cache import kernel_of
from unroll.recurrence.kernels.schedule import Packed

WEIGHTS = ("float32", "bfloat16", "int8")


class Stepper:
    """A recurrent network for inference, step by step.

    Args:
        network: a `Recurrent` on the CPU in float32, in one direction.
        batch: B, rows that are stepped together.
        weights: "float32"; "bfloat16" (bfloat16 products, half the memory); "int8" (each row of a weight matrix as a
            scale times whole numbers from -127 to 127, a quarter of the memory). States and sums stay float32.

    Raises:
        ValueError: the network is not supported; says why.
    """

    def __init__(self, network: Any, batch: int = 1, *, weights: str = "float32") -> None:
        if weights not in WEIGHTS:
            raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
        if network.directions == 2:
            raise ValueError("a stepper needs bidirectional=False: the backward direction starts at the end")
        if network.skip or network.residual:
            raise ValueError("a stepper needs a plain stack, without skip or residual connections")
        if (why := native.missing()) is not None:
            raise ValueError(f"a stepper needs compiled kernels: {why}")
        if weights == "bfloat16" and not native.base().has_bfloat16():
            raise ValueError("this processor has no bfloat16 products")
        self.network, self.batch = network, batch
        self.x = torch.zeros(batch, network.input_size)
        with torch.no_grad():
            self._layers = []
            below = self.x
            for cell in network.cells:
                self._layers.append(_Layer(cell, below, batch, weights))
                below = self._layers[-1].output
        self.output = below
        self.reset()

    def step(self, x: Tensor) -> Tensor:
        """One time step: x [B, D] -> output [B, H], which the next step overwrites.

        Raises:
            RuntimeError: x has another shape than [B, D].
        """
        self.x.copy_(x)
        for layer in self._layers:
            layer.step()
        return self.output

    def reset(self, state: Any = None) -> None:
        """Restarts from the initial state, or from one that the network (or `state`) returned."""
        given = self.network.initial(self.batch) if state is None else state
        self.network._check_state(given, self.x.unsqueeze(0))
        for layer, part in zip(self._layers, self.network.unstack_states(given), strict=True):
            layer.set(part)

    @property
    def state(self) -> Any:
        """The state after the last step, as the network returns it; a copy."""
        return self.network.stack_states([layer.state for layer in self._layers])

    @property
    def bytes(self) -> int:
        """Size of the packed weights."""
        return sum(layer.bytes for layer in self._layers)


class _Layer:
    """One cell: its buffers, its packed weights, and the prepared call for each step."""

    def __init__(self, cell: Cell, below: Tensor, batch: int, weights: str) -> None:
        kernel = kernel_of(cell, Kernel)
        if isinstance(kernel, str):
            raise ValueError(f"a stepper cannot serve {type(cell).__name__}: {kernel}")
        if not kernel.direct:
            raise ValueError(f"a stepper cannot serve {type(cell).__name__}: its project is not one product")
        made, self.weights, self.threads = kernel.program, weights, native.threads()
        self.base, self.forward = kernel.base, kernel.forward_bare
        _, matrix, bias = deferred(cell, torch.zeros(1, 1, cell.input_size))
        self.below, self.u = below, torch.zeros(batch, made.inputs)
        self.given = [torch.zeros(batch, width) for width in made.states]
        self.after = [torch.zeros(batch, width) for width in made.states]
        self.output = self.after[0] if made.aliased else torch.zeros(batch, made.outputs)
        self.bias = torch.zeros(made.inputs) if bias is None else bias.detach().clone()
        self._multiply = _product_of(self.base, weights)
        self._project = self._packed(matrix, Packed("", 0, 0, matrix.shape[1], len(matrix), transposed=False))
        self._hold = [self._packed(cell.get_parameter(one.param), one) for one in made.forward]
        self.params = {name: cell.get_parameter(name).detach().clone() for name, _, _ in made.params}
        self._call = self._made(kernel, batch)
        self._bias = address(self.bias)

    def _packed(self, weight: Tensor, one: Packed) -> Tensor:
        weight = weight.detach().contiguous()
        if self.weights != "int8":
            return pack(weight, one, bf16=self.weights == "bfloat16")
        to = torch.empty(self.base.byte_size(one.depth, one.columns), dtype=torch.int8)
        self.base.pack_bytes(start(weight, one), one.depth, one.columns, 1, weight.shape[1], address(to))
        return to

    def _made(self, kernel: Kernel, batch: int) -> Call:
        made = kernel.program
        self._count, self._offset = torch.tensor([batch]), torch.tensor([0])
        self._scratch, self._size = kernel.scratch(batch, self.threads, shared=True)
        # The input side rounds its operands, too.
        self._rounding = torch.zeros(self.threads, batch * (max(made.depth, self.below.shape[1]) + native.DEEP))
        call = Call(1, batch, self.threads, 1, address(self._count), address(self._offset))
        call.u, call.out = address(self.u), address(self.output)
        call.scratch, call.scratch_size = address(self._scratch), self._size
        call.product = self._multiply
        for k, (given, after) in enumerate(zip(self.given, self.after, strict=True)):
            call.initial[k], call.state[k] = address(given), address(after)
        for k, (name, offset, _) in enumerate(made.params):
            call.param[k] = address(self.params[name]) + 4 * offset
        for k, tensor in enumerate(self._hold):
            call.packed[k] = address(tensor)
        return call

    def step(self) -> None:
        """Reads `below`, writes `output` and the state."""
        below, u, threads = self.below, self.u, min(self.threads, native.threads())
        self._call.threads = threads
        self.base.few(
            self._multiply, address(below), len(below), address(self._project), below.shape[1], u.shape[1], self._bias,
            address(u), address(self._rounding), self._rounding.stride(0) * 4, threads,
        )  # fmt: skip
        self.forward(ctypes.byref(self._call))
        for given, after in zip(self.given, self.after, strict=True):
            given.copy_(after)

    def set(self, state: State) -> None:
        for given, after, value in zip(self.given, self.after, state, strict=True):
            given.copy_(value)
            after.copy_(value)

    @property
    def state(self) -> State:
        return tuple(tensor.clone() for tensor in self.given)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self._project, *self._hold))


def _product_of(base: ctypes.CDLL, weights: str) -> Any:
    names = {"float32": "product", "bfloat16": "bf16_product", "int8": "byte_product"}
    return ctypes.cast(getattr(base, names[weights]), ctypes.c_void_p)
