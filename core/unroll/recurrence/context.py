"""Who is watching a call of ours: asked once, before any other question, by whatever would leave torch's operations.

A compiled kernel reads and writes memory behind torch's back. That is right in a plain call, and wrong wherever torch
wants to see every operation: where it records them, transforms them, differentiates them forwards, or hands out tensors
that have no memory. There the same numbers are had from torch's own operations.

Inference mode, autocast, another default device and hooks on saved tensors are plain calls: buffers are made for them
(see kernels.workspace), and autograd sees one function.
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
    """Who watches, in the words of an error message."""

    COMPILER = "torch.compile or torch.export"
    TRACER = "torch.jit.trace"
    TRANSFORM = "a transform of torch.func"
    FORWARD = "forward-mode differentiation"
    MODE = "a mode that sees every operation"


DERIVED = (Interceptor.TRANSFORM, Interceptor.FORWARD)
"""those who need a rule for each operation: only torch's elementary ones have all of them"""


def interceptor() -> Interceptor | None:
    """Who is watching now, on this thread; None in a plain call."""
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
    """Whether a mode does more than to name the device of new tensors; ours always have one of their own."""
    return not all(isinstance(mode, DeviceContext) for mode in _stack())


def autocasts(device: torch.device) -> bool:
    """Whether torch chooses dtypes on this device now; "meta" and others have no autocast to ask."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def intercepted(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a compiled kernel must not touch these: for backward, which may run long after a plain forward."""
    return interceptor() is not None or any(_wrapped(tensor) for tensor in tensors if tensor is not None)


def elementary(*tensors: Tensor) -> bool:
    """Whether nothing but torch's elementary operations will do, not even a function of autograd made of them."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return interceptor() in (Interceptor.TRACER, *DERIVED) or any(map(_wrapped, tensors))


def _wrapped(tensor: Tensor) -> bool:
    """Whether there is something else behind it than memory: a batch of vmap or of is_grads_batched, a subclass."""
    return type(tensor) not in _ORDINARY or _in_functorch(tensor) or _in_batch(tensor)


def compiled_around(*tensors: Any) -> bool:
    """Whether torch.compile is tracing us and these are on the CPU, where our kernels are worth a break in its graph.

    torch.export allows no break.
    """
    if not torch.compiler.is_dynamo_compiling() or torch.compiler.is_exporting():
        return False
    return all(tensor.device.type == "cpu" for tensor in tensors if isinstance(tensor, Tensor))


_plain: dict[Callable[..., Any], Callable[..., Any]] = {}


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as torch.compile shall leave it: called as it stands.

    Made when it is first needed, because torch.compiler.disable imports the compiler, which takes seconds.
    """
    if function not in _plain:
        _plain[function] = torch.compiler.disable(function)
    return _plain[function]
