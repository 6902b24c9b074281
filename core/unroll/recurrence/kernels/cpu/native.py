"""The interface to C: buffers, threads, and matrix products; `missing` says why there are no kernels here."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from typing import overload

import torch
from torch import Tensor

from unroll.recurrence.kernels.cpu.compiled import HERE, CannotCompile, Without, load

STATES, PARAMS, PRODUCTS = 8, 48, 16
"""capacity of a `Call`"""
_pointer = ctypes.c_void_p


class Call(ctypes.Structure):
    """`Call` of native.h, field by field."""

    _fields_ = [
        ("steps", ctypes.c_long), ("batch", ctypes.c_long), ("threads", ctypes.c_long), ("shared", ctypes.c_long),
        ("count", _pointer), ("offset", _pointer), ("reset", _pointer), ("u", _pointer), ("out", _pointer),
        ("saved", _pointer), ("kept", _pointer), ("state", _pointer * STATES), ("initial", _pointer * STATES),
        ("fresh", _pointer * STATES), ("param", _pointer * PARAMS),
        ("packed", _pointer * PARAMS), ("mask", _pointer), ("d_out", _pointer),
        ("d_u", _pointer), ("d_product", _pointer * PRODUCTS), ("d_state", _pointer * STATES),
        ("d_fresh", _pointer * STATES), ("d_param", _pointer), ("scratch", _pointer), ("scratch_size", ctypes.c_long),
        ("product", _pointer), ("of_units", _pointer),
    ]  # fmt: skip


class Side(ctypes.Structure):
    """`Side` of native.c."""

    _fields_ = [
        ("b", _pointer), ("ldb", ctypes.c_long), ("row", _pointer), ("columns", ctypes.c_long), ("c", _pointer),
        ("ldc", ctypes.c_long),
    ]  # fmt: skip


BF16, FROM_BF16, TO_BF16 = 1, 2, 4
"""dtypes of the matrices of a large product"""
DEEP = 32
"""a rounded row is padded to a multiple of at most this many numbers"""


@overload
def address(tensor: Tensor) -> int: ...
@overload
def address(tensor: None) -> None: ...
def address(tensor: Tensor | None) -> int | None:
    """The address, for C, of a tensor from a caller; our own buffers need no check.

    Raises:
        ValueError: it is not in CPU memory, or has no memory, or is a lazily negated view.
    """
    if tensor is None:
        return None
    if not tensor.is_cpu:
        raise ValueError(f"the compiled kernels read memory of the CPU, got a tensor on {tensor.device}")
    if tensor.is_neg():
        raise ValueError("the compiled kernels read memory directly, got a lazily negated view")
    return tensor.data_ptr()


def rows(tensor: Tensor) -> Tensor:
    """The tensor as C reads it: contiguous, with a lazy negation (z.conj().imag) resolved."""
    return tensor if tensor.is_contiguous() and not tensor.is_neg() else tensor.resolve_neg().contiguous()


class _Team:
    """Whether this process has had a thread team: its threads do not survive a fork, where C would wait for them."""

    used = lost = False

    @classmethod
    def forked(cls) -> None:
        cls.lost = cls.lost or cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Team.forked)


def threads() -> int:
    """How many threads are requested: torch's number, but one in a fork of a process that has had a team.

    Fewer may be granted (OMP_THREAD_LIMIT, OMP_DYNAMIC, nested regions): C shares the work among those.
    """
    if _Team.lost:
        return 1
    count = torch.get_num_threads()
    if count > 1:
        _Team.used = True
    return count


@functools.cache
def missing() -> str | None:
    """Why there are no compiled kernels on this machine; None if there are. A fixable cause is logged once."""
    try:
        base()
    except Without as error:
        return str(error)
    except CannotCompile as error:
        logging.getLogger("unroll.recurrence").warning("no compiled kernels: %s", error)
        return str(error)
    return None


@functools.cache
def base() -> ctypes.CDLL:
    """The matrix products.

    Raises:
        CannotCompile: there is no compiler, or it fails.
    """
    library = load((HERE / "native.c").read_text(), "packed_size", "large")
    long, data = ctypes.c_long, _pointer
    library.packed_size.restype = long
    library.packed_size.argtypes = [long, long, ctypes.c_int]
    library.pack.argtypes = [data, long, long, long, long, data, ctypes.c_int, long]
    library.byte_size.restype = library.outer_size.restype = long
    library.outer_size.argtypes = [long, data, long]
    library.outer.argtypes = [data, long, long, long, data, long, data, data, long, ctypes.c_int, long]
    library.byte_size.argtypes = [long, long]
    library.pack_bytes.argtypes = [data, long, long, long, long, data]
    library.few.argtypes = [data, data, long, data, long, long, data, data, data, long, long]
    library.large.argtypes = [data, long, long, long, data, long, data, data, long, ctypes.c_int, long]
    return library
