"""Reuses large buffers: the system zeroes new pages, which takes longer than filling them.

A buffer is in use as long as a tensor on it exists, and free again when the last one is gone; nothing is freed
explicitly. Tensors made under torch.inference_mode must never meet autograd, so there are two kinds of buffers, and a
call gets one of its own mode.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

LEAST = 1 << 16
"""elements below which the system's own allocator is as fast"""
SPARE = 16
"""unused buffers that are kept; the least recently used is dropped first"""

_uses: Any = getattr(torch._C, "_storage_Use_Count", None)


class Workspace:
    """One-dimensional tensors on the CPU, the most recently used one last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bases: list[Tensor] = []

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Like torch.empty on the CPU, whatever the default device: not a view, and on memory that is not shared."""
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
            # The tensor is created under the lock: from here on the buffer counts as used.
            return made.set_(base.untyped_storage(), 0, shape, _strides(shape))

    def _taken(self, size: int, like: Tensor) -> Tensor | None:
        """A free buffer of about this size, the most recently used first: its pages are most likely in the cache."""
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
        """Releases all unused buffers."""
        with self._lock:
            self._bases = [base for base in self._bases if not self._free(base)]


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Strides of a contiguous tensor."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _own_uses() -> int:
    """How many references a storage has, beyond one, if only one tensor and this query hold it."""
    if _uses is None:
        return 0
    base = torch.empty(1, device="cpu")
    storage = base.untyped_storage()
    return int(_uses(storage._cdata)) - 1


_OWN = _own_uses()
WORKSPACE = Workspace()
