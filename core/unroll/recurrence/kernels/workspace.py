"""Large buffers that are used again: fresh pages come zeroed, which takes the system longer than we take to fill them.

A buffer belongs to whoever holds a tensor on it and comes back by itself when the last one is gone; nothing is freed by
hand. What is made under torch.inference_mode must never meet autograd, so there are two kinds of buffers, and a call
gets one of its own mode.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

LEAST = 1 << 16
"""elements below which the system's own small blocks are as good"""
SPARE = 16
"""buffers that are kept while nobody uses them; the longest unused goes first"""

_uses: Any = getattr(torch._C, "_storage_Use_Count", None)


class Workspace:
    """One-dimensional tensors on the CPU, the last used one at the end of the list."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bases: list[Tensor] = []

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Like torch.empty on the CPU, whatever the default device: no view, and on memory that nobody else holds."""
        size = math.prod(shape)
        if size < LEAST or _uses is None:
            return torch.empty(shape, dtype=dtype, device="cpu")
        made = torch.empty(0, dtype=dtype, device="cpu")
        with self._lock:
            base = self._taken(size, made)
            if base is None:
                self._trim()
                base = torch.empty(size, dtype=dtype, device="cpu")
            self._bases.append(base)
            # The tensor is laid on it under the lock: from here on the buffer is seen to be held.
            return made.set_(base.untyped_storage(), 0, shape, _strides(shape))

    def _taken(self, size: int, like: Tensor) -> Tensor | None:
        """A free buffer of about this size, the last used one first: its pages are likeliest in the cache."""
        kind = like.dtype, like.is_inference()
        for number in range(len(self._bases) - 1, -1, -1):
            base = self._bases[number]
            if size <= base.numel() <= 2 * size and (base.dtype, base.is_inference()) == kind and self._free(base):
                return self._bases.pop(number)
        return None

    def _trim(self) -> None:
        free = [number for number, base in enumerate(self._bases) if self._free(base)]
        if len(free) > SPARE:
            del self._bases[free[0]]

    @staticmethod
    def _free(base: Tensor) -> bool:
        storage = base.untyped_storage()
        return int(_uses(storage._cdata)) <= 1 + _OWN

    def clear(self) -> None:
        """Gives back what nobody uses."""
        with self._lock:
            self._bases = [base for base in self._bases if not self._free(base)]


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Of a contiguous tensor."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _own_uses() -> int:
    """How many uses a storage has that only one tensor and the question itself hold, beyond one."""
    if _uses is None:
        return 0
    base = torch.empty(1, device="cpu")
    storage = base.untyped_storage()
    return int(_uses(storage._cdata)) - 1


_OWN = _own_uses()
WORKSPACE = Workspace()
