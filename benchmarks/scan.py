"""Linear recurrences: ways to compute h_t = a_t h_{t-1} + b_t, and minGRU against torch.nn's GRU and LSTM.

    python -m benchmarks.scan            both tables, about three minutes on one core

docs/performance-scan.md has the results and the conclusions.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch._higher_order_ops.associative_scan import associative_scan

from unroll.recurrence import Recurrent
from unroll.recurrence.scan import linear_loop, linear_scan

Solver = Callable[[Tensor, Tensor, Tensor], Tensor]
LENGTHS = (64, 256, 1024, 4096)
SIZES = ((1, 64), (8, 128), (32, 256))
"""(B, H), from a single stream on a device to a training batch."""
LARGEST = 10_000_000
"""Elements of a and of b above which a size is left out."""


def doubling(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """Hillis and Steele 1986: log2(T) passes over all data."""
    b = torch.cat([torch.addcmul(b[:1], a[:1], initial), b[1:]])
    reach = 1
    while reach < len(a):
        b = torch.cat([b[:reach], torch.addcmul(b[reach:], a[reach:], b[:-reach])])
        a = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        reach *= 2
    return b


def corrected_chunks(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """Chunks from zero, their cumulative products, and one correction; T must be a multiple of isqrt(T)."""
    chunks = math.isqrt(len(a))
    a, b = (x.reshape(chunks, -1, *x.shape[1:]) for x in (a, b))
    decay = a.cumprod(1)
    local = linear_loop(a.transpose(0, 1), b.transpose(0, 1), torch.zeros_like(b[:, 0])).transpose(0, 1)
    ends = linear_loop(decay[:, -1], local[:, -1], initial)
    incoming = torch.cat([initial.unsqueeze(0), ends[:-1]])
    return torch.addcmul(local, decay, incoming.unsqueeze(1)).flatten(0, 1)


def cumulated_logarithms(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """Heinsen 2023, as in the minGRU paper: only for a > 0 and b > 0, accurate only while logarithms cancel little."""
    decay = a.log().cumsum(0)
    start = torch.cat([initial.clamp(min=1e-30).log().unsqueeze(0), b.log() - decay])
    return (decay + start.logcumsumexp(0)[1:]).exp()


def torch_associative_scan(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """torch 2.13's own, in the mode that works on a CPU."""

    def then(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return first[0] * second[0], torch.addcmul(second[1], second[0], first[1])

    b = torch.cat([torch.addcmul(b[:1], a[:1], initial), b[1:]])
    states: Tensor = associative_scan(then, (a, b), 0, combine_mode="generic")[1]
    return states


SOLVERS: dict[str, Solver] = {
    "scan": linear_scan,
    "loop": linear_loop,
    "doubling": doubling,
    "corrected": corrected_chunks,
    "logarithms": cumulated_logarithms,
    "torch": torch_associative_scan,
}


def milliseconds(run: Callable[[], object], least: float = 0.3) -> float:
    """The fastest of at least two runs and `least` seconds, after one warm-up."""
    run()
    times: list[float] = []
    while len(times) < 2 or sum(times) < least:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def compare_solvers() -> None:
    """Forward, and forward with backward, in ms; and the largest error against float64, in units of the largest h."""
    print("T B H".ljust(14), *(name.rjust(24) for name in SOLVERS), "   forward, + backward in ms (float32 error)")
    for steps in LENGTHS:
        for batch, hidden in SIZES:
            if steps * batch * hidden > LARGEST:
                continue
            cells = [_measure(solve, steps, batch, hidden) for solve in SOLVERS.values()]
            print(f"{steps} {batch} {hidden}".ljust(14), *(cell.rjust(24) for cell in cells))


def _measure(solve: Solver, steps: int, batch: int, hidden: int) -> str:
    torch.manual_seed(0)
    # Positive b and h_0, because the log-space form requires them.
    a, b, initial = torch.rand(steps, batch, hidden), torch.rand(steps, batch, hidden), torch.rand(batch, hidden)
    leaves = [tensor.requires_grad_() for tensor in (a, b, initial)]

    def both() -> None:
        torch.autograd.grad(solve(*leaves).sum(), leaves)

    exact = linear_scan(a.double(), b.double(), initial.double()).detach()
    with torch.no_grad():
        error = float((solve(a, b, initial).double() - exact).abs().max() / exact.abs().max())
        forward = milliseconds(lambda: solve(a, b, initial))
    return f"{forward:.2f} {milliseconds(both):.2f} ({error:.0e})"


def compare_cells() -> None:
    """One training step (forward and backward) of whole layers, D = H, in ms."""
    names = ("mingru", "minlstm", "rglru", "mingru, stepwise", "torch GRU", "torch LSTM")
    print("T B H".ljust(14), *(name.rjust(17) for name in names), "   forward + backward in ms")
    for steps in LENGTHS:
        for batch, hidden in SIZES:
            if steps * batch * hidden > LARGEST:
                continue
            layers: list[nn.Module] = [Recurrent(name, hidden, hidden) for name in names[:3]]
            layers.append(Recurrent("mingru", hidden, hidden, backend="eager"))
            layers += [nn.GRU(hidden, hidden), nn.LSTM(hidden, hidden)]
            x = torch.randn(steps, batch, hidden)
            times = [milliseconds(partial(_training_step, layer, x)) for layer in layers]
            print(f"{steps} {batch} {hidden}".ljust(14), *(f"{value:17.2f}" for value in times))


def _training_step(layer: nn.Module, x: Tensor) -> None:
    layer(x)[0].sum().backward()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch; the figures in docs are for 1")
    torch.set_num_threads(parser.parse_args().threads)
    compare_solvers()
    compare_cells()
