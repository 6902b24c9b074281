"""Other processes: what is sent to one computes the same there, and many may compile into one empty cache at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import unroll
from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import compiled, native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
SECONDS = 120
"""after which a process is taken to hang"""
HIDDEN = torch.linspace(-1, 1, 4 * 32).view(4, 32)
SENT: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "LSTM": lambda: (unroll.LSTM(8, 32, 2, bidirectional=True), (sequence(),)),
    "GRU, one step": lambda: (unroll.GRU(8, 32), (sequence()[:1], HIDDEN.unsqueeze(0))),
    "RNN": lambda: (unroll.RNN(8, 32), (sequence(), HIDDEN.unsqueeze(0))),
    "LSTMCell": lambda: (unroll.LSTMCell(8, 32), (sequence()[0], (HIDDEN, HIDDEN.cos()))),
    "GRUCell": lambda: (unroll.GRUCell(8, 32), (sequence()[0], HIDDEN)),
    "RNNCell": lambda: (unroll.RNNCell(8, 32), (sequence()[0], HIDDEN)),
    "Recurrent": lambda: (Recurrent("elman", 8, 32, f="relu", learn_initial=True), (sequence(),)),
    "layer norm": lambda: (Recurrent("layernorm-gru", 8, 32), (sequence(),)),
    "its cell": lambda: (Recurrent("lstm", 8, 32).cells[0], (sequence()[0], (HIDDEN, HIDDEN.cos()))),
}
"""(module, arguments) by name"""


def sequence() -> Tensor:
    return torch.sin(torch.arange(5 * 4 * 8.0)).view(5, 4, 8)


def outcome(module: nn.Module, given: tuple[Any, ...]) -> list[Tensor]:
    """All that a call returns without gradients, what it returns with them, and the gradients of the parameters."""
    found = []
    for followed in (False, True):
        with torch.set_grad_enabled(followed):
            found.append(flat(module(*given)))
    loss = torch.stack([(tensor * tensor.detach().cos()).sum() for tensor in found[1]]).sum()
    return [tensor.detach() for tensor in (*found[0], *found[1], *torch.autograd.grad(loss, [*module.parameters()]))]


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in flat(part)]


def answer(queue: Any, sent: dict[str, tuple[nn.Module, tuple[Any, ...]]]) -> None:
    """What a process does: NumPy's arrays need no memory that both share."""
    torch.set_num_threads(1)
    queue.put({name: [tensor.numpy() for tensor in outcome(*one)] for name, one in sent.items()})


def test_what_is_sent_to_a_new_process_computes_the_same_there() -> None:
    torch.manual_seed(0)
    sent = {name: make() for name, make in SENT.items()}
    wanted = {name: outcome(*one) for name, one in sent.items()}  # called before: with kernels, frames and steps
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=answer, args=(queue, sent), daemon=True)
    process.start()
    found = queue.get(timeout=SECONDS)
    process.join(SECONDS)
    assert process.exitcode == 0
    assert sent["Recurrent"][0].ran == sent["layer norm"][0].ran == "fused"
    for name, tensors in wanted.items():
        for theirs, ours in zip(found[name], tensors, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, msg=lambda text, name=name: f"{name}: {text}")


def in_forks(count: int, body: Callable[[int], bool]) -> list[int]:
    """Runs body(number) in as many forks at once -> the exit status of each, 0 where it has returned true."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(SECONDS)
                status = 0 if body(number) else 3
            finally:
                os._exit(status)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_that_compile_the_same_at_once_leave_one_whole_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(compiled.FOLDER, str(tmp_path))
    compiled.toolchain.cache_clear()
    compiled.toolchain()
    try:
        for number in range(3):
            # Large enough that writing it takes a while.
            text = f"const double many[20000] = {{{number}.5}};\nint number(void) {{ return {number}; }}"
            barrier = multiprocessing.get_context("fork").Barrier(3)

            def load(_: int, text: str = text, number: int = number, barrier: Any = barrier) -> bool:
                barrier.wait(SECONDS)
                return all(compiled.load(text, "number").number() == number for _ in range(3))

            assert in_forks(3, load) == [0, 0, 0]
            libraries = sorted(tmp_path.glob("*.so"))
            assert len(libraries) == number + 1
            assert all(compiled._intact(library) for library in libraries)
            assert {path.suffix for path in tmp_path.iterdir()} == {".so", ".sha256"}
            assert len(list(tmp_path.iterdir())) == 2 * len(libraries)
        with monkeypatch.context() as patched:
            patched.setattr(compiled, "_compile", lambda *_: pytest.fail("it was compiled again"))
            assert compiled.load(text, "number").number() == number
    finally:
        compiled.toolchain.cache_clear()


class _Computed(Dataset[Tensor]):
    """Each item is computed where the loader fetches it."""

    def __init__(self, network: Recurrent, cell: unroll.GRUCell) -> None:
        self.network, self.cell = network, cell

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        x = sequence() + index
        with torch.no_grad():
            output, _ = self.network(x)
            return torch.cat([output.flatten(), self.cell(x[0], HIDDEN).flatten()])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_loader_s_workers_compute_what_the_process_does_that_they_were_forked_from(threads: int) -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        items = _Computed(Recurrent("lstm", 8, 32), unroll.GRUCell(8, 32))
        wanted = [items[index] for index in range(len(items))]  # the kernels are loaded, and a team was at work
        loader = DataLoader(items, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=SECONDS)
        found = list(loader)
        again = [items[index] for index in range(len(items))]
    finally:
        torch.set_num_threads(before)
    for a, b, c in zip(found, wanted, again, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(c, b)
