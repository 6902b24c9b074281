"""C touches nothing behind operands and results, each of which ends where memory ends, nor behind arrays of its own."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import unroll
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.linear import Side, outer, product

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
WAYS = (False, True) if native.missing() is None and native.base().has_bfloat16() else (False,)


def at_the_end(tensor: Tensor) -> Tensor:
    """A copy behind whose last number lies a page that cannot be touched."""
    size = tensor.numel() * tensor.element_size()
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + room
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel(), offset=room - size)
    return copy.view(tensor.shape).copy_(tensor)


def matrices() -> None:
    """Products and gradients of weights, with blocks, strips and vectors that are full, and that are not."""
    sizes = itertools.product((1, 7, 8, 9, 33, 300), (1, 5, 16, 17, 60), (1, 16, 33), WAYS)
    for rows, units, inputs, bf16 in sizes:
        a, b = at_the_end(torch.randn(rows, units)), at_the_end(torch.randn(rows, inputs))
        weight, result = at_the_end(torch.randn(inputs, units)), at_the_end(torch.empty(units, inputs))
        for left in (a, at_the_end(a.bfloat16())) if bf16 else (a,):
            outer(left, [Side(b, result)], at_the_end(torch.empty(units)), bf16=bf16)
            product(left, weight, at_the_end(torch.randn(inputs)), bf16=bf16, narrow=bf16)
        product(b, weight, at_the_end(torch.randn(units)), transposed=True, bf16=bf16)


def networks() -> None:
    """Whole passes and single steps, forward and backward."""
    for kind, batch, width in ((unroll.LSTM, 5, 17), (unroll.GRU, 1, 3)):
        network = kind(width, width + 1)
        for weight in network.parameters():
            weight.data = at_the_end(weight.data)
        for steps in (1, 6):
            x = at_the_end(torch.randn(steps, batch, width)).requires_grad_()
            network(x)[0].square().sum().backward()
            with torch.no_grad():
                network(x)
    for kind, batch in itertools.product((unroll.LSTMCell, unroll.GRUCell), (1, 5, 40)):  # few rows, many, panels
        cell, x, hidden = kind(17, 18), torch.randn(batch, 17), torch.randn(batch, 18)
        after = cell(x, (hidden, hidden) if kind is unroll.LSTMCell else hidden)
        (after[0] if kind is unroll.LSTMCell else after).sum().backward()


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")
@pytest.mark.parametrize("what", [matrices, networks])
def test_nothing_behind_an_operand_is_touched(what: Callable[[], None]) -> None:
    """In a process of its own, which would die of it."""
    program = f"from {__name__} import {what.__name__} as work; work()"
    words = [sys.executable, "-X", "faulthandler", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="gcc's and clang's")
@pytest.mark.parametrize("what", [matrices, networks])
def test_no_index_is_beyond_its_array(what: Callable[[], None], tmp_path: Path) -> None:
    """With a check of every index compiled in, which ends the process."""
    tmp_path.chmod(0o700)
    compiler = f"{os.environ.get('CC', 'cc')} -fsanitize=bounds -fsanitize-undefined-trap-on-error"
    program = f"from {__name__} import {what.__name__} as work, native; work(); assert native.missing() is None"
    words = [sys.executable, "-X", "faulthandler", "-c", program]
    place = os.environ | {"CC": compiler, "UNROLL_KERNELS": str(tmp_path)}
    done = subprocess.run(words, env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.so"))
