"""x W' + b in float32 (or with bfloat16 operands) by our own products, which on many machines beat torch's default.

torch sends float32 products to MKL, which on AMD processors runs at 60 to 80 % of the machine's limit. `FastLinear`
replaces F.linear for the length of a block, so that a cell's `project` need not know.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from core.recurrence.kernels import native
from core.recurrence.kernels.native import address
from core.recurrence.kernels.phases import Packed
from core.recurrence.kernels.workspace import WORKSPACE

SMALL = 1 << 16
"""multiplications below which calling us costs more than it gains"""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, halved: bool = False) -> Tensor:
    """F.linear, differentiable once by our products and any number of times by torch's.

    Args:
        x: [..., D] float32 on the CPU.
        weight: [H, D].
        bias: [H] or None.
        halved: operands are rounded to bfloat16; sums stay float32.
    """
    rows = x.numel() // max(1, x.shape[-1])
    if rows * weight.numel() < SMALL or not serves(x, weight):
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias, halved)  # type: ignore[no-untyped-call]
    return result


def serves(*tensors: Tensor) -> bool:
    """Whether our products take these tensors, on this machine, here."""
    kinds = {(tensor.device.type, tensor.dtype) for tensor in tensors}
    return kinds == {("cpu", torch.float32)} and native.missing() is None


class FastLinear(TorchFunctionMode):
    """Within the block, F.linear is `linear` wherever that can serve."""

    def __init__(self, halved: bool = False) -> None:
        super().__init__()
        self.halved = halved

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs and all(isinstance(arg, Tensor) for arg in args[:2]):
            return linear(*args, halved=self.halved)
        return func(*args, **(kwargs or {}))


_SAME = frozenset({"ViewBackward0", "UnsafeViewBackward0", "SqueezeBackward1"})


def straight_from_linear(x: Tensor) -> bool:
    """Whether x is the result of `linear` and of nothing after it: no backward step needs its values."""
    function = x.grad_fn
    while function is not None and function.name() in _SAME:
        function = function.next_functions[0][0]
    return function is not None and function.name() == "_LinearBackward"


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, halved: bool) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.halved = halved
        flat, matrix = x.detach().reshape(-1, x.shape[-1]).contiguous(), weight.detach().contiguous()
        out = _product(flat, matrix, False, None if bias is None else bias.contiguous(), halved)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = [tensor for tensor in (x, weight, bias) if tensor is not None and tensor.requires_grad]
            given = iter(torch.autograd.grad(F.linear(x, weight, bias), inputs, gradient, create_graph=True))
            return *(next(given) if t is not None and t.requires_grad else None for t in (x, weight, bias)), None
        rows = gradient.reshape(-1, gradient.shape[-1]).contiguous()
        d_x = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = _product(rows, weight.contiguous(), True, None, ctx.halved).view(x.shape)
        if ctx.needs_input_grad[1]:
            d_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
            outer(rows, x.reshape(-1, x.shape[-1]), d_weight, add=False, halved=ctx.halved)
        if bias is not None and ctx.needs_input_grad[2]:
            d_bias = rows.sum(0)
        return d_x, d_weight, d_bias, None


def _product(a: Tensor, weight: Tensor, transposed: bool, bias: Tensor | None, halved: bool) -> Tensor:
    """a [N, D] weight' for weight [H, D], or a [N, H] weight if transposed."""
    depth, columns = weight.shape if transposed else (weight.shape[1], len(weight))
    matrix = pack(weight, Packed("", 0, 0, depth, columns, transposed), halved)
    out = WORKSPACE.empty(len(a), columns)
    left, to = (address(a), a.stride(0)), (address(out), columns)
    native.base().large(
        *left, len(a), depth, address(matrix), columns, address(bias), *to, halved, torch.get_num_threads()
    )
    return out


def pack(weight: Tensor, part: Packed, halved: bool) -> Tensor:
    """A part of a contiguous float32 weight in the order in which a product reads it, rounded to bfloat16 if halved."""
    base, strides = native.base(), (weight.shape[1], 1) if part.transposed else (1, weight.shape[1])
    size = base.packed_size(part.depth, part.columns, halved)
    to = WORKSPACE.empty(size, dtype=torch.int16 if halved else torch.float32)
    threads = torch.get_num_threads()
    base.pack(start(weight, part), part.depth, part.columns, *strides, address(to), halved, threads)
    return to


def start(weight: Tensor, part: Packed) -> int:
    """Where the part begins."""
    return weight.data_ptr() + 4 * (part.row * weight.shape[1] + part.column)


def outer(a: Tensor, b: Tensor, into: Tensor, *, add: bool, halved: bool) -> None:
    """a [N, H]' b [N, D] into a float32 [H, D], or added to it: a weight's gradient. Windows of matrices will do."""
    if not serves(a, b, into):
        into.copy_(into + a.t() @ b if add else a.t() @ b)
        return
    base, threads, rows, columns = native.base(), torch.get_num_threads(), a.shape[1], b.shape[1]
    work = WORKSPACE.empty(threads * base.outer_size(rows, columns))
    left, right, to = ((address(tensor), tensor.stride(0)) for tensor in (a, b, into))
    base.outer(*left, *right, len(a), rows, columns, *to, address(work), add, halved, threads)
