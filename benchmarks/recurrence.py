"""Recurrent networks compared with other implementations: training, all cells, lengths, scan, inference, streaming.

    python -m benchmarks.recurrence                                  everything
    python -m benchmarks.recurrence --only training,lengths --threads 2
    python -m benchmarks.recurrence --quick                          tiny sizes, as a smoke test

Prints tables and writes recurrence.json and recurrence.png. docs/performance.md explains how to read them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks import peers, report
from benchmarks.cases import QUICK, SECTIONS, Sizes
from benchmarks.side_by_side import CLOCKS, DTYPES, Clock, Result, load, machine, measure, measure_limit
from unroll.commands import run
from unroll.errors import UsageError, did_you_mean

OUT = Path("benchmarks/results")


def exponent(results: list[Result], way: str) -> float:
    """p of time ~ T^p, fitted through the medians."""
    lengths, times = ([result.case.tokens for result in results], [result.seconds(way) for result in results])
    return float(np.polyfit(np.log(lengths), np.log(times), 1)[0])


def notes(name: str, results: list[Result]) -> list[str]:
    """A section's notes besides its ratios."""
    if name == "training":
        largest = max(results, key=lambda result: result.case.runs["float32"].work)
        return [f"{largest.case.name} in float32: {largest.share('float32'):.0%} of the limit (wanted: 80%)"]
    if name == "scan" and len(results) > 1:
        alike: dict[str, list[Result]] = {}
        for result in results:
            alike.setdefault(result.case.group.split()[-1], []).append(result)
        return [
            f"{rows}: time of {way} grows as T^{exponent(some, way):.2f}"
            for rows, some in alike.items()
            for way in some[0].case.runs
        ]
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
    only: str = "",
    *,
    quick: bool = False,
    threads: int = 0,
    seconds: float = 0.0,
    clock: str = "wall",
    out: str | Path = OUT,
) -> dict[str, Any]:
    """Measure, print and write; returns a summary for programs.

    Args:
        only: sections as a,b,c; empty: all.
        quick: tiny sizes, whose figures are meaningless.
        threads: of torch, NumPy and onnxruntime; 0: torch's default.
        seconds: approximate time budget of each case; 0: 4.
        clock: "wall", or "processor" for one thread on a shared machine.
        out: a folder for recurrence.json and recurrence.png.

    Raises:
        UserError: an unknown section or clock, an invalid number of threads, a folder that cannot be written.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SECTIONS)
    for option, name, known in [("only", name, SECTIONS) for name in names] + [("clock", clock, CLOCKS)]:
        if name not in known:
            raise UsageError(f"--{option} {name}: unknown; {did_you_mean(name, known)}")
    if threads < 0:
        raise UsageError(f"--threads {threads}: give a number from 1 on, or 0 for torch's own choice")
    torch.set_num_threads(threads or torch.get_num_threads())
    if clock == "processor" and torch.get_num_threads() > 1:
        raise UsageError("--clock processor also counts threads waiting for each other; it needs --threads 1")
    folder = report.folder(out)
    sizes, console = QUICK if quick else Sizes(), report.console()
    sizes = sizes._replace(seconds=seconds or sizes.seconds)
    if quick:
        console.print("tiny sizes: a smoke test, the figures are meaningless")
    torch.manual_seed(0)
    tables, here = list[report.Table](), machine() | {"clock": clock}
    with threadpool_limits(torch.get_num_threads()):
        for name in names:
            tables.append(_section(name, sizes, CLOCKS[clock], console))
            report.write(tables, here, folder)  # kept if the next section is interrupted
    return report.finish(tables, here, folder, console)


def _section(name: str, sizes: Sizes, clock: Clock, console: Console) -> report.Table:
    before = load()
    dtypes = DTYPES if name in ("training", "scan") else ["float32"]
    # A large product between two small steps would evict their data from the cache.
    limit = measure_limit(
        min(sizes.limit, 256) if name == "step" else sizes.limit, min(1.0, sizes.seconds), dtypes, clock
    )
    results = []
    for case in SECTIONS[name](sizes):
        with console.status(f"{name}: {case.name}"):
            results.append(measure(case, limit, sizes.seconds, clock))
    about = (SECTIONS[name].__doc__ or "").splitlines()[0]
    table = report.Table(name, about, results, limit, notes(name, results), (before, load()))
    report.show(table, console)
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"sections, a,b,c of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--threads", type=int, default=0, help="for every implementation (default: torch's own number)")
    parser.add_argument("--seconds", type=float, default=0.0, help="time budget of each case (default: 4)")
    parser.add_argument("--clock", default="wall", help="wall, or processor (one thread, on a busy machine)")
    parser.add_argument("--out", default=OUT, help=f"folder to write to (default: {OUT})")
    run(partial(bench, **vars(parser.parse_args())))


if __name__ == "__main__":
    main()
