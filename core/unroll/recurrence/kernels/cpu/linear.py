"""x W' + b in float32 (or with bfloat16 operands) by our own products, which on many machines beat torch's default.

torch uses MKL for float32 products, which on AMD processors runs at 60 to 80 % of the machine's limit. `FastLinear`
replaces F.linear within a block, without changes to a cell's `project`; `deferred` finds the arguments of the F.linear
in a `project`, so that it can become part of the kernel.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from unroll.recurrence.cell import Cell
from unroll.recurrence.context import intercepted
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.native import address
from unroll.recurrence.kernels.schedule import Packed
from unroll.recurrence.kernels.workspace import WORKSPACE

SMALL = 1 << 16
"""multiplications below which the call costs more than it gains"""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, bf16: bool = False) -> Tensor:
    """F.linear, differentiable once with our products, and any number of times with torch's.

    Args:
        x: [..., D] float32 on the CPU.
        weight: [H, D].
        bias: [H] or None.
        bf16: operands are rounded to bfloat16; sums stay float32.
    """
    rows = x.numel() // max(1, x.shape[-1])
    if rows * weight.numel() < SMALL or not serves(x, weight) or intercepted((x, weight)):
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias, bf16)  # type: ignore[no-untyped-call]  # torch: no types
    return result


def serves(*tensors: Tensor) -> bool:
    """Whether our products support these tensors on this machine in this context."""
    kinds = {(tensor.device.type, tensor.dtype) for tensor in tensors}
    return kinds == {("cpu", torch.float32)} and native.missing() is None


class FastLinear(TorchFunctionMode):
    """Within the block, F.linear is replaced by `linear` where that is supported."""

    def __init__(self, bf16: bool = False) -> None:
        super().__init__()
        self.bf16 = bf16

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs and all(isinstance(arg, Tensor) for arg in args[:2]):
            return linear(*args, bf16=self.bf16)
        return func(*args, **(kwargs or {}))


class Deferred(NamedTuple):
    """The arguments of an F.linear that was not computed."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None


class _Replacement(TorchFunctionMode):
    """Within the block, the first F.linear returns this instead."""

    def __init__(self, product: Tensor) -> None:
        super().__init__()
        self.product: Tensor | None = product

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and self.product is not None:
            made, self.product = self.product, None
            return made
        return func(*args, **(kwargs or {}))


def projected(cell: Cell, x: Tensor, product: Tensor) -> Tensor:
    """The result of `cell.project(x)` for a given product. Only for cells that `deferred` supports."""
    with _Replacement(product):
        return cell.project(x)


class _Found(Exception):  # noqa: N818
    """Carries the arguments out of `project`."""

    def __init__(self, given: Deferred) -> None:
        super().__init__()
        self.given = given


class _Deferral(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            raise _Found(Deferred(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def deferred(cell: Cell, x: Tensor) -> Deferred:
    """What `cell.project(x)` passes to F.linear. Only for a cell whose `project` was traced, so that there is one."""
    try:
        with _Deferral():
            cell.project(x)
    except _Found as found:
        return found.given
    raise AssertionError(f"{type(cell).__name__}.project makes no product, although it was traced")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, bf16: bool) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.bf16 = bf16
        flat, matrix = native.rows(x.detach().reshape(-1, x.shape[-1])), native.rows(weight.detach())
        out = product(flat, matrix, None if bias is None else native.rows(bias), bf16=bf16)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        differentiable = torch.is_grad_enabled()
        if differentiable or intercepted((gradient,)):
            inputs = [tensor for tensor in (x, weight, bias) if tensor is not None and tensor.requires_grad]
            with torch.enable_grad():
                again = F.linear(x, weight, bias)
            given = iter(torch.autograd.grad(again, inputs, gradient, create_graph=differentiable))
            return *(next(given) if t is not None and t.requires_grad else None for t in (x, weight, bias)), None
        rows = native.rows(gradient.reshape(-1, gradient.shape[-1]))
        d_x = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_x = product(rows, native.rows(weight), transposed=True, bf16=ctx.bf16).view(x.shape)
        if any(ctx.needs_input_grad[1:3]):
            d_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
            if bias is not None:
                d_bias = torch.empty_like(bias, memory_format=torch.contiguous_format)
            outer(rows, [Side(native.rows(x.reshape(-1, x.shape[-1])), d_weight)], d_bias, bf16=ctx.bf16)
        return d_x, d_weight, d_bias, None


def product(
    a: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    transposed: bool = False,
    bf16: bool = False,
    narrow: bool = False,
) -> Tensor:
    """a [N, D] weight' + bias for weight [H, D], or a [N, H] weight if transposed; all contiguous.

    Args:
        a: float32, or bfloat16 if bf16.
        weight: float32.
        bias: float32 or None.
        transposed: as above.
        bf16: operands are rounded to bfloat16; sums stay float32.
        narrow: whether the result is bfloat16 rather than float32; only if bf16.
    """
    depth, columns = weight.shape if transposed else weight.shape[::-1]
    rows, matrix = a.shape[0], pack(weight, Packed("", 0, 0, depth, columns, transposed), bf16)
    out = WORKSPACE.empty(rows, columns, dtype=torch.bfloat16 if narrow else torch.float32)
    left, to, kind = (address(a), a.stride(0)), (out.data_ptr(), columns), _kind(a, bf16)
    native.base().large(
        *left, rows, depth, matrix.data_ptr(), columns, address(bias), *to, kind | native.TO_BF16 * narrow,
        native.threads(),
    )  # fmt: skip
    return out


def _kind(a: Tensor, bf16: bool) -> int:
    return native.BF16 * bf16 | native.FROM_BF16 * (a.dtype == torch.bfloat16)


def pack(weight: Tensor, part: Packed, bf16: bool) -> Tensor:
    """A part of a contiguous float32 weight, packed in the order in which a product reads it, as bfloat16 if bf16."""
    base, strides = native.base(), (weight.shape[1], 1) if part.transposed else (1, weight.shape[1])
    size = base.packed_size(part.depth, part.columns, bf16)
    to = WORKSPACE.empty(size, dtype=torch.int16 if bf16 else torch.float32)
    threads = native.threads()
    base.pack(start(weight, part), part.depth, part.columns, *strides, to.data_ptr(), bf16, threads)
    return to


def start(weight: Tensor, part: Packed) -> int:
    """Where the part begins."""
    return address(weight) + 4 * (part.row * weight.shape[1] + part.column)


def _by_rows(b: Tensor) -> Tensor:
    """A matrix with contiguous rows, as C needs; a list of row addresses is returned as it is."""
    return b if b.dim() == 1 or b.stride(1) == 1 or b.shape[1] == 1 else b.contiguous()


class Side(NamedTuple):
    """One right-hand side of `outer`.

    Attributes:
        b: float32 [N, D], or int64 [N]: the addresses of rows of D.
        into: float32 [H, D], which is written. Both may be windows of larger matrices.
    """

    b: Tensor
    into: Tensor


def outer(a: Tensor, sides: Sequence[Side], sums: Tensor | None = None, *, bf16: bool = False) -> None:
    """a [N, H]' b [N, D] into each side's [H, D], and a's column sums into sums [H]: gradients of weights and bias.

    Args:
        a: float32, or bfloat16 if bf16; rows contiguous.
        sides: the right-hand sides; a is read once for all of them.
        sums: float32 or None.
        bf16: operands are rounded to bfloat16; sums stay float32.
    """
    base, threads, columns = native.base(), native.threads(), a.shape[1]
    given = (native.Side * len(sides))()
    held = [_by_rows(b) for b, _ in sides]
    for one, b, (_, into) in zip(given, held, sides, strict=True):
        one.columns, one.c, one.ldc = into.shape[1], address(into), into.stride(0)
        if b.dtype == torch.int64:
            one.row = address(b)
        else:
            one.b, one.ldb = address(b), b.stride(0)
    array = ctypes.addressof(given)
    size = base.outer_size(columns, array, len(sides))
    work = WORKSPACE.empty(threads * size)
    base.outer(
        address(a), a.stride(0), a.shape[0], columns, array, len(sides), address(sums), work.data_ptr(), size,
        _kind(a, bf16), threads,
    )  # fmt: skip
