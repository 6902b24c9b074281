"""Compiles C at its first use, keeps what came out, and hands buffers over; `missing` says why there is nothing."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

FOLDER = "UNROLL_KERNELS"
"""environment variable: where compiled kernels are kept, by default ~/.cache/unroll/kernels; "off" compiles nothing"""

_HERE = Path(__file__).parent
_FLAGS = (
    "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
STATES, PARAMS, PRODUCTS = 8, 48, 16
"""what a `Call` has room for"""
_pointer = ctypes.c_void_p


class CannotCompile(Exception):  # noqa: N818
    """There is no working C compiler here; the message says what was tried."""


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


HALVED, FROM_NARROW, TO_NARROW = 1, 2, 4
"""what the matrices of a large product are made of"""
DEEP = 32
"""a rounded row is padded to a multiple of so many numbers, at most"""


@overload
def address(tensor: Tensor) -> int: ...
@overload
def address(tensor: None) -> None: ...
def address(tensor: Tensor | None) -> int | None:
    """What C gets of a tensor.

    Raises:
        ValueError: its memory is not the CPU's, or it has none.
    """
    if tensor is None:
        return None
    if not tensor.is_cpu:
        raise ValueError(f"the compiled kernels read memory of the CPU, got a tensor on {tensor.device}")
    return tensor.data_ptr()


class _Team:
    """What a process knows of its threads: a team's do not follow it into a fork, where C would wait for them."""

    used = lost = False

    @classmethod
    def forked(cls) -> None:
        cls.lost = cls.lost or cls.used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Team.forked)


def threads() -> int:
    """How many threads are asked for: torch's number, but one in a fork of a process that has had a team.

    Fewer may come (OMP_THREAD_LIMIT, OMP_DYNAMIC, a region within a region): C shares the work among those.
    """
    if _Team.lost:
        return 1
    count = torch.get_num_threads()
    if count > 1:
        _Team.used = True
    return count


@functools.cache
def missing() -> str | None:
    """Why there are no compiled kernels on this machine; None where there are."""
    try:
        base()
    except CannotCompile as error:
        return str(error)
    return None


@functools.cache
def base() -> ctypes.CDLL:
    """The matrix products.

    Raises:
        CannotCompile: no compiler, or it refuses.
    """
    library = load((_HERE / "native.c").read_text())
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


def load(source: str) -> ctypes.CDLL:
    """The library that this C text compiles to; from the cache where the same text met the same compiler and machine.

    Raises:
        CannotCompile: no compiler, or it refuses.
    """
    kept, command, identity = _toolchain()
    headers = (_HERE / name for name in ("native.h", "tiles.h"))
    text = "\0".join([*(header.read_text() for header in headers), source, identity])
    path = kept / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    if not path.exists():
        _compile(command, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotCompile(f"{path}: {error}; delete it, and it is made anew") from error


def _compile(cc: str, source: str, path: Path) -> None:
    # Two processes may compile the same text; each writes its own file, and the rename makes either of them the one.
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        text, made = Path(scratch) / "kernel.c", Path(scratch) / "kernel.so"
        text.write_text(source)
        command = [cc, *_FLAGS, f"-I{_HERE}", str(text), "-o", str(made), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotCompile(f"{cc}: {error}") from error
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
            raise CannotCompile(f"{cc} refuses: {said}")
        os.replace(made, path)


def compiler() -> str:
    """What compiles, as it calls itself."""
    return _toolchain()[2].splitlines()[0]


def folder() -> Path:
    """Where kernels are kept.

    Raises:
        CannotCompile: nowhere, or none are wanted.
    """
    wanted = os.environ.get(FOLDER, "")
    if wanted == "off":
        raise CannotCompile(f"{FOLDER} is off")
    try:
        kept = Path(wanted) if wanted else Path.home() / ".cache" / "unroll" / "kernels"
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError) as error:
        raise CannotCompile(f"nowhere to keep compiled kernels: {error}; set {FOLDER} to a folder") from error
    if not os.access(kept, os.W_OK):
        raise CannotCompile(f"{kept} cannot be written to; set {FOLDER} to a folder that can")
    return kept


@functools.cache
def _toolchain() -> tuple[Path, str, str]:
    """(cache folder, compiler, what makes a compiled file valid: compiler, processor, libraries)."""
    kept = folder()
    if sys.platform not in ("linux", "darwin"):
        raise CannotCompile(f"compiled kernels are not built on {sys.platform}")
    cc = os.environ.get("CC") or next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)
    if cc is None:
        raise CannotCompile("no C compiler (gcc or clang) was found")
    try:
        version = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise CannotCompile(f"{cc}: {error}") from error
    return kept, cc, "\0".join([version, _processor(), torch.__version__, *_FLAGS])


def _processor() -> str:
    """The instruction set, as far as it decides whether compiled code runs here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.platform())
