"""One dispatch for several backends; the loop over `step` is the oracle of all of them.

    fused   C compiled for this cell at its first use (CPU, float32 or bfloat16 under autocast)
    torch   oneDNN or cuDNN through torch.nn's functions, for the three cells that they support
    triton  the fused steps compiled for a GPU (float32); on the CPU only in Triton's interpreter, and only if forced
    scan    parallel in time, for linear recurrences
    eager   one call of `step` per time step: any cell, any device, any derivative

"auto" takes the first that supports the call. Forcing one that does not raises an error that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell, State, loop, masked
from unroll.recurrence.context import DERIVED, Interceptor, autocasts, interceptor
from unroll.recurrence.kernels import packed, torch_kernels
from unroll.recurrence.kernels.cpu import autograd, native
from unroll.recurrence.kernels.kernel_cache import Told, kernel_of, tell
from unroll.recurrence.kernels.triton import triton_kernel, triton_steps
from unroll.recurrence.row_mask import RowMask

_ORDINARY = (Tensor, torch.nn.Parameter)
MOST_ROWS = 8192
"""most rows of a batch: their pointers must fit on any thread's stack"""
BACKENDS = ("auto", "fused", "torch", "triton", "scan", "eager")
Way = Callable[[Cell, Tensor, State, dict[str, Any], Tensor | None], tuple[Tensor, State]]


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    fresh: State,
    row_mask: RowMask,
    *,
    backend: str = "auto",
    mask: Tensor | None = None,
    writable: bool = False,
) -> tuple[Tensor, State, str]:
    """All steps of one cell.

    Args:
        cell: whose weights are used.
        x: [T, B, D, *extent], zeros past each row's end.
        state: before the first step.
        fresh: the state that rows are reset to.
        row_mask: lengths and resets.
        backend: one of BACKENDS.
        mask: [B, H], multiplied onto the hidden state on its way into the recurrent product.
        writable: whether the caller may write into the output, which most backends read again in the backward step.

    Returns:
        output [T, B, H, *extent], the state, and the name of the backend that was used.

    Raises:
        ValueError: the requested backend does not support this cell or these tensors; says why.
    """
    where: dict[str, Any] = {"lengths": row_mask.lengths, "reset": row_mask.reset, "fresh": fresh}
    way: Way | str = ""
    told: Told | None = None
    who = interceptor()
    # With grad mode enabled inside inference mode, torch does not record operations either. Interceptors handle that
    # themselves, and a compiler cannot even query it.
    followed = nullcontext() if who is not None or not torch.is_inference_mode_enabled() else torch.no_grad()
    for name in BACKENDS[1:] if backend == "auto" else (backend,):
        if backend == "auto" and name == "triton" and triton_kernel.interpreted():
            continue
        way = _way(name, cell, x, mask, who)
        if isinstance(way, Told):
            told = way
        if not isinstance(way, str):
            if told is not None and name == "eager":
                tell(cell, told)
            if name == "fused":  # handles it without a copy
                where["writable"] = writable
            with followed:
                output, after = way(cell, x, state, where, mask)
            copied = writable and output.requires_grad and name not in ("fused", "eager")
            return output.clone() if copied else output, after, name
    raise ValueError(f"backend={backend!r} cannot run {type(cell).__name__} here: {way}")


def unsupported_reason(name: str, cell: Cell, x: Tensor, mask: Tensor | None) -> str | None:
    """Why a backend does not support the call; None if it does."""
    way = _way(name, cell, x, mask, interceptor())
    return way if isinstance(way, str) else None


def _way(name: str, cell: Cell, x: Tensor, mask: Tensor | None, who: Interceptor | None) -> Way | str:
    """How a backend runs the cell, or why it cannot."""
    if who is not None and who in _AVOIDS.get(name, ()):
        return f"the {name} kernels do not work under {who.value}"
    if name in _KERNELS:
        kernel = _KERNELS[name](cell, x, mask)
        return kernel if isinstance(kernel, str) else partial(_run_kernel, kernel)
    if name == "torch":
        if mask is not None:
            return "torch's kernels do not support dropout of the hidden state"
        return _run_torch if torch_kernels.serves(cell) else "torch has no kernel for it"
    if name == "scan":
        if mask is not None or type(cell).sequence is Cell.sequence:
            return "its steps depend on the state"
        return _run_scan
    return _run_eager


def _fused(cell: Cell, x: Tensor, mask: Tensor | None) -> Any:
    """The compiled kernel, or why there is none."""
    if x.device.type != "cpu" or type(x) not in _ORDINARY:
        return "the fused kernels are for the CPU"
    if x.shape[1] > MOST_ROWS:
        return f"the fused kernels take up to {MOST_ROWS:,} rows, got {x.shape[1]:,}"
    if (reason := _not_generated(cell, "fused") or native.missing()) is not None:
        return reason
    bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if bf16 and not native.base().has_bfloat16():
        return "this processor has no bfloat16 products"
    return kernel_of(cell, autograd.Narrow if bf16 else autograd.Kernel, mask is not None)


def _triton(cell: Cell, x: Tensor, mask: Tensor | None) -> Any:
    """The generated kernel, or why there is none."""
    if x.device.type != "cuda" and not triton_kernel.interpreted():
        return "the Triton kernels are for CUDA"
    if (reason := _not_generated(cell, "Triton") or triton_kernel.missing()) is not None:
        return reason
    return kernel_of(cell, triton_steps.Kernel, mask is not None)


_KERNELS = {"fused": _fused, "triton": _triton}
_AVOIDS = {
    "fused": tuple(Interceptor),
    "triton": tuple(Interceptor),
    "torch": DERIVED,
    "scan": (*DERIVED, Interceptor.TRACER),
}


def _not_generated(cell: Cell, which: str) -> str | None:
    """Why neither code generator supports the cell; None if they do."""
    # A cell without modules has all its parameters in its own table; walking modules is expensive for a short call.
    weights: Iterable[Tensor | None] = cell.parameters() if cell._modules else cell._parameters.values()
    for weight in weights:
        if weight is not None and (weight.dtype != torch.float32 or type(weight) not in _ORDINARY):
            return f"the {which} kernels are for float32 weights, in ordinary tensors"
    return None


def _run_kernel(
    kernel: Any, cell: Cell, x: Tensor, state: State, where: dict[str, Any], mask: Tensor | None
) -> tuple[Tensor, State]:
    with torch.autocast(x.device.type, enabled=False) if autocasts(x.device) else nullcontext():
        return packed.run(kernel, cell, x.float(), tuple(tensor.float() for tensor in state), mask=mask, **where)


def _run_torch(cell: Cell, x: Tensor, state: State, where: dict[str, Any], _: Tensor | None) -> tuple[Tensor, State]:
    return torch_kernels.run(cell, x, state, **where)


def _run_scan(cell: Cell, x: Tensor, state: State, where: dict[str, Any], _: Tensor | None) -> tuple[Tensor, State]:
    return cell.sequence(cell.project(x), state, **where)


def _run_eager(cell: Cell, x: Tensor, state: State, where: dict[str, Any], mask: Tensor | None) -> tuple[Tensor, State]:
    return loop(masked(cell, mask), cell.project(x), state, **where)
