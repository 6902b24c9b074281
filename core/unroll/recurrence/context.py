"""Detects tracers, transforms and modes that must see every torch operation; checked before a kernel is chosen.

A compiled kernel reads and writes memory behind torch's back. That is fine in a plain call, but wrong when torch must
see every operation: when it records or transforms them, differentiates in forward mode, or passes tensors that have no
memory. There the same results are computed with torch's own operations.

Calls under inference mode, autocast, another default device or hooks on saved tensors are still plain: buffers are made
to suit them (see kernels.workspace), and autograd sees one function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

_ORDINARY = (Tensor, torch.nn.Parameter)
_in_functorch = torch._C._functorch.is_functorch_wrapped_tensor
_in_batch = torch._C._functorch.is_legacy_batchedtensor
_tracing = torch._C._is_tracing
_transformed = torch._C._are_functorch_transforms_active
_dispatch_modes = torch._C._len_torch_dispatch_stack
_stack: Callable[[], list[Any]] = _get_current_function_mode_stack
_function_modes = torch._C._len_torch_function_stack


class Interceptor(Enum):
    """What must see every operation, as named in error messages."""

    COMPILER = "torch.compile or torch.export"
    TRACER = "torch.jit.trace"
    TRANSFORM = "a transform of torch.func"
    FORWARD = "forward-mode differentiation"
    MODE = "a torch function or dispatch mode"


DERIVED = (Interceptor.TRANSFORM, Interceptor.FORWARD)
"""those that need a derivative rule for every operation: only torch's elementary operations have them all"""


def interceptor() -> Interceptor | None:
    """What must see every operation now, on this thread; None in a plain call."""
    if torch.compiler.is_compiling():
        return Interceptor.COMPILER  # first: what follows cannot itself be compiled
    if _tracing():
        return Interceptor.TRACER
    if _transformed():
        return Interceptor.TRANSFORM
    if forward_ad._current_level >= 0:
        return Interceptor.FORWARD
    if _dispatch_modes() or (_function_modes() and _sees_functions()):
        return Interceptor.MODE
    return None


def _sees_functions() -> bool:
    """Whether a mode does more than set the default device, which never applies here: our tensors state theirs."""
    return not all(isinstance(mode, DeviceContext) for mode in _stack())


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on for this device; "meta" and some others do not support it."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def intercepted(tensors: Iterable[Tensor | None]) -> bool:
    """Whether compiled kernels must not touch these tensors; for backward, which may run long after a plain forward."""
    return interceptor() is not None or any(_wrapped(tensor) for tensor in tensors if tensor is not None)


def elementary(*tensors: Tensor) -> bool:
    """Whether only torch's elementary operations may be used, not even an autograd.Function built from them."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return interceptor() in (Interceptor.TRACER, *DERIVED) or any(map(_wrapped, tensors))


def _wrapped(tensor: Tensor) -> bool:
    """Whether the tensor is more than memory: a batch of vmap or is_grads_batched, or a subclass."""
    return type(tensor) not in _ORDINARY or _in_functorch(tensor) or _in_batch(tensor)


def compiled_around(*tensors: Any) -> bool:
    """Whether torch.compile is tracing and these are on the CPU, where our kernels are worth a graph break.

    torch.export allows no graph breaks.
    """
    if not torch.compiler.is_dynamo_compiling() or torch.compiler.is_exporting():
        return False
    return all(tensor.device.type == "cpu" for tensor in tensors if isinstance(tensor, Tensor))


_plain: dict[Callable[..., Any], Callable[..., Any]] = {}


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, hidden from torch.compile.

    Wrapped on first use, because torch.compiler.disable imports the compiler, which takes seconds.
    """
    if function not in _plain:
        _plain[function] = torch.compiler.disable(function)
    return _plain[function]
