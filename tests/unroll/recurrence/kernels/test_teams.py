"""Several threads, as many as requested or as few as the system grants: gradients and products are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.linear import Side, outer, product
from unroll.recurrence.kernels.cpu.stepper import WEIGHTS, Stepper

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
HALVES = native.missing() is None and bool(native.base().has_bfloat16())


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many are asked for within the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def outcome(network: Recurrent, backend: str, x: Tensor, bf16: bool = False) -> list[Tensor]:
    """Output, state, and the gradients of a fixed weighted sum by the input and every parameter."""
    network.backend, x = backend, x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output, state = network(x)
    assert network.ran == backend
    loss = (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum()
    return [output, *state, *torch.autograd.grad(loss, [x, *network.parameters()])]


def furthest(network: Recurrent, x: Tensor, bf16: bool = False) -> float:
    """How far any result is from the loop's, relative to its size."""
    pairs = zip(outcome(network, "fused", x, bf16), outcome(network, "eager", x), strict=True)
    return max(float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("rows", [3, 30])
@pytest.mark.parametrize("name", ["lstm", "layernorm-gru"])
def test_gradients_of_rows_that_are_shared_and_that_are_split(name: str, rows: int, bf16: bool, threads: int) -> None:
    if bf16 and not HALVES:
        pytest.skip("this processor has no bfloat16 products")
    torch.manual_seed(0)
    options = {"peephole": True} if name == "lstm" else {}
    network, x = Recurrent(name, 11, 20, **options), torch.randn(6, rows, 11)
    assert furthest(network, x, bf16) < (4e-2 if bf16 else 1e-5)


@pytest.mark.parametrize("units", [5, 40, 200, 600])
@pytest.mark.parametrize("rows", [1, 2, 300])
def test_weight_gradients_and_their_sums(rows: int, units: int, threads: int) -> None:
    """Few columns: each thread has its own rows, and what they found is added up. Many: each has its own columns."""
    a, b = torch.randn(rows, units), torch.randn(rows, 37)
    into, sums = torch.empty(units, 37), torch.empty(units)
    outer(a, [Side(b, into)], sums)
    torch.testing.assert_close(into, a.t() @ b, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sums, a.sum(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 97, 700])
def test_large_products(rows: int, threads: int) -> None:
    a, weight, bias = torch.randn(rows, 150), torch.randn(170, 150), torch.randn(170)
    torch.testing.assert_close(product(a, weight, bias), a @ weight.t() + bias, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
def test_more_rows_than_a_product_takes_at_once(bf16: bool) -> None:
    """512 at a time: those after them are other rows, with other results."""
    if bf16 and not HALVES:
        pytest.skip("this processor has no bfloat16 products")
    torch.manual_seed(0)
    network = Recurrent("layernorm-lstm", 5, 12)
    assert furthest(network, torch.randn(3, 1030, 5), bf16) < (4e-2 if bf16 else 1e-5)


@pytest.mark.parametrize("weights", WEIGHTS if HALVES else ("float32", "int8"))
def test_more_rows_than_a_product_takes_at_once_step_by_step(weights: str, threads: int) -> None:
    torch.manual_seed(0)
    network, x = Recurrent("gru", 5, 12), torch.randn(3, 1030, 5)
    stepper = Stepper(network, 1030, weights=weights)
    with torch.no_grad():
        wanted = network(x)[0]
    got = torch.stack([stepper.step(row).clone() for row in x])
    torch.testing.assert_close(got, wanted, atol=1e-5 if weights == "float32" else 3e-2, rtol=0)


FEWER = """
import sys, torch
sys.path[:0] = [{folder!r}]
from test_teams import everything
torch.set_num_threads({threads})
everything({threads})
"""


def everything(threads: int) -> None:
    """Each kind of kernel, and both ways to share the rows, against the loop; run with fewer threads than asked for."""
    for name in ("lstm", "layernorm-gru"):
        network = Recurrent(name, 24, 128)
        for rows in (3, 8 * threads, 8 * threads + 5):
            for bf16 in (False, True)[: 1 + HALVES]:
                torch.manual_seed(0)
                assert furthest(network, torch.randn(7, rows, 24), bf16) < (4e-2 if bf16 else 1e-5), (name, rows)
    for units in (40, 200 * threads):
        test_weight_gradients_and_their_sums(300, units, threads)
    for rows in (1, 700):
        test_large_products(rows, threads)
    for weights in WEIGHTS:
        if weights != "bfloat16" or HALVES:
            test_more_rows_than_a_product_takes_at_once_step_by_step(weights, threads)


@pytest.mark.parametrize(
    ("threads", "setting"),
    [
        (4, "OMP_THREAD_LIMIT=2"),
        (4, "OMP_THREAD_LIMIT=3"),
        (4, "OMP_DYNAMIC=true"),
        (4, "OMP_MAX_ACTIVE_LEVELS=0"),
        (40, ""),
    ],
    ids=str,
)
def test_fewer_threads_than_asked_for(threads: int, setting: str) -> None:
    """Clusters and containers set these: the system grants what it will, and nothing may depend on it."""
    script = FEWER.format(folder=str(Path(__file__).parent), threads=threads)
    given = dict([setting.split("=")]) if setting else {}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FORKED = """
import os, signal, torch
from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu.stepper import Stepper
torch.set_num_threads(2)
network, x = Recurrent("lstm", 8, 32, backend="fused"), torch.randn(5, 30, 8)
stepper = Stepper(network, 30)
def run():
    output = network(x)[0]
    slopes = torch.autograd.grad(output.square().sum(), list(network.parameters()))
    return [output, stepper.step(x[0]).clone(), *slopes]
with torch.autograd.set_multithreading_enabled(False):
    wanted = run()
    stepper.reset()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        same = all(torch.allclose(a, b, atol=1e-5) for a, b in zip(run(), wanted, strict=True))
        os._exit(0 if same else 3)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_not_wait_for_threads_that_it_has_not() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_a_fork_has_no_team_where_its_parent_had_or_had_lost_one(
    monkeypatch: pytest.MonkeyPatch, used: bool, lost: bool
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(native._Team, "used", used)
    monkeypatch.setattr(native._Team, "lost", lost)
    native._Team.forked()
    assert native.threads() == (1 if used or lost else 2)
    assert native._Team.used == (used or not lost)


def test_one_thread_is_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(native._Team, "used", False)
    monkeypatch.setattr(native._Team, "lost", False)
    assert native.threads() == 1 and not native._Team.used


def test_no_pointer_but_the_cpus_is_handed_over() -> None:
    with pytest.raises(ValueError, match="memory of the CPU, got a tensor on meta"):
        native.address(torch.empty(3, device="meta"))
    assert native.address(None) is None
    tensor = torch.empty(3)
    assert native.address(tensor) == tensor.data_ptr()
