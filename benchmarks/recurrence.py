"""Recurrent networks side by side with others: training, the family of cells, lengths, scan, inference, streaming.

    python -m benchmarks.recurrence                                  everything
    python -m benchmarks.recurrence --only training,lengths --threads 2
    python -m benchmarks.recurrence --quick                          tiny sizes: does it run?

Prints tables and writes recurrence.json and recurrence.png. docs/performance.md says how to read them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from benchmarks import peers, report
from benchmarks.peers import Packed, Training, pair, work
from benchmarks.side_by_side import DTYPES, Case, Pair, Result, Run, load, machine, measure, measure_limit
from core.commands import run
from core.errors import UsageError, did_you_mean
from core.recurrence import Recurrent

OUT = Path("benchmarks/results")


class Sizes(NamedTuple):
    """How large everything is."""

    steps: int = 100
    hidden: tuple[int, ...] = (128, 256, 512)
    batch: tuple[int, ...] = (16, 32, 64)
    family: tuple[int, int] = (32, 256)
    """(B, H), as below"""
    lengths: tuple[int, int] = (64, 256)
    mean: int = 40
    """of the lengths; the longest is five times as long"""
    scan: tuple[int, int] = (8, 256)
    long: tuple[int, ...] = (256, 1024, 4096)
    inference: tuple[tuple[int, int], ...] = ((1, 256), (16, 128), (32, 256), (64, 512))
    streaming: tuple[int, int] = (2, 512)
    """(layers, H)"""
    limit: int = 2048
    seconds: float = 4.0
    """that the rounds of a case take, or a little longer"""


QUICK = Sizes(8, (16,), (4,), (4, 16), (4, 16), 4, (2, 16), (8, 16), ((2, 16),), (2, 16), 64, 0.01)
WANTED = {"LSTM": 1.25, "GRU": 1.6, "RNN": 1.7}
"""times as fast as torch.nn in training, float32"""
LEAST = 0.95
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("lstm", {}),
    "LSTM, LayerNorm": ("layernorm-lstm", {}),
    "LSTM, peepholes": ("lstm", {"peephole": True}),
    "LSTM, coupled gates": ("lstm", {"coupled": True}),
    "LSTM, projection to H/2": ("lstm", {"projection": 0.5}),
    "sLSTM": ("slstm", {}),
    "GRU": ("gru", {}),
    "GRU, reset before product": ("gru", {"reset_gate": "before"}),
    "GRU, LayerNorm": ("layernorm-gru", {}),
    "MGU": ("mgu", {}),
    "Li-GRU": ("ligru", {}),
    "Elman, tanh": ("elman", {}),
    "Elman, relu": ("elman", {"f": "relu"}),
    "Elman, sigmoid": ("elman", {"f": "sigmoid"}),
    "IndRNN": ("indrnn", {}),
    "coRNN": ("cornn", {}),
}


def training(sizes: Sizes) -> Iterator[Case]:
    """Forward and backward beside torch.nn, in float32 and bfloat16 (ours: autocast, torch's: a bfloat16 module)."""
    for kind, wanted in WANTED.items():
        pairs = (
            Pair("float32", "nn float32", wanted, LEAST),
            Pair("bfloat16", "nn float32", 2.0 if kind == "LSTM" else None),
            Pair("bfloat16", "nn bfloat16"),
        )
        for hidden in sizes.hidden:
            for batch in sizes.batch:
                theirs, ours = pair(kind, hidden)
                x = torch.randn(sizes.steps, batch, hidden)
                agree(ours(x)[0], theirs(x)[0])
                halved, amount = pair(kind, hidden)[0].bfloat16(), work(theirs, batch * sizes.steps, training=True)
                runs = {
                    "float32": Run(Training(ours, x), amount, module=ours),
                    "bfloat16": Run(Training(ours, x, halved=True), amount, "bfloat16", ours),
                    "nn float32": Run(Training(theirs, x), amount),
                    "nn bfloat16": Run(Training(halved, x.bfloat16()), amount, "bfloat16"),
                }
                yield Case(kind, f"{kind} H={hidden} B={batch}", runs, pairs, batch * sizes.steps)


def family(sizes: Sizes) -> Iterator[Case]:
    """Every cell beside our LSTM, by the time per operation in matrix products, and beside its own loop of steps."""
    batch, hidden = sizes.family
    x, tokens = torch.randn(sizes.steps, batch, hidden), sizes.steps * batch
    lstm = Recurrent("lstm", hidden, hidden)
    for name, (cell, options) in FAMILY.items():
        given = {key: int(value * hidden) if key == "projection" else value for key, value in options.items()}
        ours, loop = (Recurrent(cell, hidden, hidden, backend=way, **given) for way in ("auto", "eager"))
        loop.load_state_dict(ours.state_dict())
        agree(ours(x)[0], loop(x)[0])
        amount = work(ours, tokens, training=True)
        runs = {
            "Recurrent": Run(Training(ours, x), amount, module=ours),
            "its loop": Run(Training(loop, x), amount),
            "our LSTM": Run(Training(lstm, x), work(lstm, tokens, training=True)),
        }
        pairs = (Pair("Recurrent", "its loop", each=4.0), Pair("Recurrent", "our LSTM", each=0.8, per_work=True))
        yield Case("family", name, runs, pairs if name != "LSTM" else pairs[:1], tokens)


def lengths(sizes: Sizes) -> Iterator[Case]:
    """Rows of log-normal length, training: ours with `lengths`, torch.nn's packed and unpacked, and padded."""
    batch, hidden = sizes.lengths
    generator = torch.Generator().manual_seed(0)
    sigma = 0.75
    drawn = torch.exp(math.log(sizes.mean) - sigma**2 / 2 + sigma * torch.randn(batch, generator=generator))
    given = drawn.round().long().clamp(1, 5 * sizes.mean)
    x, tokens = torch.randn(int(given.max()), batch, hidden), int(given.sum())
    for kind in ("LSTM", "GRU"):
        theirs, ours = pair(kind, hidden)
        packed = Packed(theirs)
        agree(ours(x, lengths=given)[0], packed(x, given)[0])
        amount = work(theirs, tokens, training=True)
        runs = {
            "Recurrent": Run(Training(ours, x, lengths=given), amount, module=ours),
            "nn packed": Run(Training(packed, x, lengths=given), amount),
            "nn padded": Run(Training(theirs, x), amount),
        }
        pairs = (Pair("Recurrent", "nn packed", mean=1.5 if kind == "LSTM" else None), Pair("Recurrent", "nn padded"))
        yield Case(kind, f"{kind} {tokens:,} of {x.shape[0] * batch:,} places used", runs, pairs, tokens)


def scan(sizes: Sizes) -> Iterator[Case]:
    """minGRU over long sequences beside torch.nn.LSTM of the same width, training."""
    batch, hidden = sizes.scan
    for steps in sizes.long:
        x, tokens = torch.randn(steps, batch, hidden), steps * batch
        ours, parallel = (Recurrent("mingru", hidden, hidden, backend=way) for way in ("auto", "scan"))
        lstm = nn.LSTM(hidden, hidden)
        amount = work(ours, tokens, training=True)
        runs = {
            "minGRU": Run(Training(ours, x), amount, module=ours),
            "minGRU by scan": Run(Training(parallel, x), amount, module=parallel),
            "nn.LSTM": Run(Training(lstm, x), work(lstm, tokens, training=True)),
        }
        pairs = (
            Pair("minGRU", "nn.LSTM", each=10.0 if steps == max(sizes.long) else None),
            Pair("minGRU by scan", "nn.LSTM"),
        )
        yield Case(f"T={steps}", f"minGRU T={steps}", runs, pairs, tokens)


def inference(sizes: Sizes) -> Iterator[Case]:
    """A sequence at once, without gradients, beside whatever there is."""
    for kind in WANTED:
        for batch, hidden in sizes.inference:
            theirs, ours = pair(kind, hidden)
            x = torch.randn(sizes.steps, batch, hidden)
            ways = peers.inference(kind, theirs, ours, x)
            for way in ways.values():
                agree(torch.as_tensor(way()), theirs(x)[0])
            amount = work(theirs, batch * sizes.steps, training=False)
            runs = {
                name: Run(call, amount, module=ours if name == "Recurrent" else None) for name, call in ways.items()
            }
            pairs = tuple(Pair("Recurrent", name) for name in list(ways)[1:])
            yield Case(kind, f"{kind} H={hidden} B={batch}", runs, pairs, batch * sizes.steps)


def streaming(sizes: Sizes) -> Iterator[Case]:
    """One row, one step after the other, the state carried."""
    layers, hidden = sizes.streaming
    x = torch.randn(sizes.steps, 1, hidden)
    theirs, ours = pair("LSTM", hidden, layers)
    amount = work(theirs, sizes.steps, training=False)
    runs = {
        "Recurrent.step": Run(partial(_stepped, ours.step, x), amount),
        "nn.LSTM": Run(partial(_stepped, lambda u, state: theirs(u.unsqueeze(0), state), x), amount),
    }
    steppers = {f"Stepper {weights}": _stepper(ours, weights) for weights in ("float32", "bfloat16", "int8")}
    for name, step in steppers.items():
        if step is not None:
            runs[name] = Run(partial(_streamed, step, x), amount)
    pairs = tuple(
        Pair(name, "nn.LSTM", each=1 / 0.6 if name == "Stepper float32" else None) for name in runs if name != "nn.LSTM"
    )
    yield Case("streaming", f"LSTM {layers} x {hidden}, {sizes.steps} steps", runs, pairs, sizes.steps)


def _stepped(step: Callable[[Tensor, Any], tuple[Tensor, Any]], x: Tensor) -> None:
    state = None
    with torch.no_grad():
        for u in x:
            state = step(u, state)[1]


def _streamed(step: Callable[[Tensor], object], x: Tensor) -> None:
    for u in x:
        step(u)


def _stepper(recurrent: Recurrent, weights: str) -> Callable[[Tensor], Tensor] | None:
    """A step function that holds its state and buffers; None where this machine has none."""
    try:
        from core.recurrence.kernels.stepper import Stepper
    except ImportError:
        return None
    step: Callable[[Tensor], Tensor] = Stepper(recurrent, weights=weights).step
    return step


def agree(ours: Tensor, theirs: Tensor) -> None:
    """What is not the same computation is not compared."""
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


SECTIONS: dict[str, Callable[[Sizes], Iterator[Case]]] = {
    "training": training,
    "family": family,
    "lengths": lengths,
    "scan": scan,
    "inference": inference,
    "streaming": streaming,
}


def exponent(results: list[Result], way: str) -> float:
    """p of time ~ T^p, fitted through the medians."""
    points = [(math.log(result.case.tokens), math.log(result.seconds(way))) for result in results]
    return float(np.polyfit(*zip(*points, strict=True), 1)[0])


def notes(name: str, results: list[Result]) -> list[str]:
    """What a section has to say besides its ratios."""
    if name == "training":
        largest = max(results, key=lambda result: result.case.runs["float32"].work)
        return [f"{largest.case.name} in float32: {largest.share('float32'):.0%} of the limit (wanted: 80%)"]
    if name == "scan" and len(results) > 1:
        return [f"time of {way} grows as T^{exponent(results, way):.2f}" for way in results[0].case.runs]
    if name == "lengths":
        return [
            f"useful tokens per second, {result.case.group}: "
            + ", ".join(f"{way} {result.case.tokens / result.seconds(way):,.0f}" for way in result.case.runs)
            for result in results
        ]
    if name == "streaming":
        [result] = results
        steps = [f"{way} {1e6 * result.seconds(way) / result.case.tokens:.0f}" for way in result.case.runs]
        return [f"microseconds a step: {', '.join(steps)}"]
    if name == "inference" and (reason := peers.onnx_missing()):
        return [f"onnxruntime is left out: {reason}"]
    return []


def bench(
    only: str = "", *, quick: bool = False, threads: int = 0, seconds: float = 0.0, out: str | Path = OUT
) -> dict[str, Any]:
    """Measure, print, write; what was written, as for programs.

    Args:
        only: sections as a,b,c; empty: all.
        quick: tiny sizes, whose figures mean nothing.
        threads: of torch, NumPy and onnxruntime; 0: as many as torch takes by itself.
        seconds: that the rounds of a case take, or a little longer; 0: 4.
        out: a folder for recurrence.json and recurrence.png.

    Raises:
        UserError: an unknown section, a number of threads that cannot be, a folder that cannot be written.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SECTIONS)
    for name in names:
        if name not in SECTIONS:
            raise UsageError(f"--only {name}: no such section; {did_you_mean(name, SECTIONS)}")
    if threads < 0:
        raise UsageError(f"--threads {threads}: give a number from 1 on, or 0 for torch's own choice")
    folder = report.folder(out)
    sizes, console = QUICK if quick else Sizes(), report.console()
    if seconds:
        sizes = sizes._replace(seconds=seconds)
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.manual_seed(0)
    if quick:
        console.print("tiny sizes: that it runs is all that these figures say")
    with threadpool_limits(torch.get_num_threads()):
        tables = [_section(name, sizes, console) for name in names]
    return report.write(tables, machine(), folder, console)


def _section(name: str, sizes: Sizes, console: Console) -> report.Table:
    before = load()
    limit = measure_limit(sizes.limit, min(1.0, sizes.seconds), DTYPES if name == "training" else ["float32"])
    results = []
    for case in SECTIONS[name](sizes):
        with console.status(f"{name}: {case.name}"):
            results.append(measure(case, limit, sizes.seconds))
    about = (SECTIONS[name].__doc__ or "").splitlines()[0]
    table = report.Table(name, about, results, limit, notes(name, results), (before, load()))
    report.show(table, console)
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"sections, a,b,c of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--threads", type=int, default=0, help="of everybody (default: as many as torch takes)")
    parser.add_argument("--seconds", type=float, default=0.0, help="for the rounds of each case (default: 4)")
    parser.add_argument("--out", default=OUT, help=f"folder to write to (default: {OUT})")
    run(partial(bench, **vars(parser.parse_args())))


if __name__ == "__main__":
    main()
