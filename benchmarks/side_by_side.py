"""Named runs side by side in one process, and what this machine can do at most.

A machine that others use as well is never twice the same, so that times of two moments say little. Here all runs take
turns; a ratio is taken within a round, in which all had nearly the same machine, and the median over many rounds, with
an interval, is what is reported. Every figure is also operations per second, and a share of the fastest matrix product
that was found in the same minute.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.linear import linear

Call = Callable[[], object]
Clock = Callable[[], float]
Times = dict[str, list[float]]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""processor: of all threads of this process together, which others on the machine disturb less; for one thread only"""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DRAWS = 2000
"""resamplings of a bootstrap"""


def race(
    runs: Mapping[str, Call],
    seconds: float,
    *,
    least: int = 7,
    warm: int = 2,
    clock: Clock = time.perf_counter,
) -> Times:
    """The seconds of each run in each round.

    Args:
        runs: by name; each is called once a round, and a round's order is the last one's, rotated by one place.
        seconds: rounds begin until so much time has passed.
        least: rounds that there are in any case.
        warm: calls of each before the first round.
        clock: seconds now.
    """
    for call in runs.values():
        for _ in range(warm):
            call()
    names, begin = list(runs), clock()
    times: Times = {name: [] for name in names}
    while (done := len(times[names[-1]])) < least or clock() - begin < seconds:
        first = done % len(names)
        for name in names[first:] + names[:first]:
            before = clock()
            runs[name]()
            times[name].append(clock() - before)
    return times


class Ratio(NamedTuple):
    """Times as fast: the median, and between what it lies with 95 % confidence."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}\N{EN DASH}{self.high:.2f})"


def ratio(rounds: Sequence[float]) -> Ratio:
    """The median of ratios of one round each, with a bootstrap interval over the rounds."""
    return geometric_mean([rounds])


def geometric_mean(cases: Iterable[Sequence[float]]) -> Ratio:
    """The geometric mean over cases of each one's median over rounds; every case's rounds are drawn by themselves."""
    generator = np.random.default_rng(0)
    medians, drawn = [], []
    for rounds in cases:
        values: NDArray[np.float64] = np.log(np.asarray(rounds))
        medians.append(np.median(values))
        drawn.append(np.median(values[generator.integers(len(values), size=(DRAWS, len(values)))], axis=1))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return Ratio(*(float(np.exp(value)) for value in (np.mean(medians), low, high)))


@dataclass(frozen=True)
class Limit:
    """The fastest square matrix product of this machine, now, by dtype."""

    size: int
    rates: dict[str, dict[str, float]]
    """dtype -> who computed it -> operations per second, the median over rounds"""

    @property
    def work(self) -> float:
        """Operations of one product."""
        return 2.0 * self.size**3

    def best(self, dtype: str) -> tuple[str, float]:
        """Who was fastest, and the operations per second."""
        return max(self.rates[dtype].items(), key=lambda item: item[1])


def measure_limit(
    size: int, seconds: float, dtypes: Iterable[str] = tuple(DTYPES), clock: Clock = time.perf_counter
) -> Limit:
    """Products of two matrices [size, size] by each engine that there is, side by side."""
    rates = {}
    for dtype in dtypes:
        times = race(products(dtype, size), seconds, least=3, warm=1, clock=clock)
        rates[dtype] = {name: 2.0 * size**3 / float(np.median(took)) for name, took in times.items()}
    return Limit(size, rates)


def products(dtype: str, size: int) -> dict[str, Call]:
    """x W' of this size by oneDNN, by torch.mm (which in float32 is MKL) and by our own kernels."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, size, generator=generator) for _ in range(2))
    a, b = x.to(DTYPES[dtype]), weight.to(DTYPES[dtype])
    calls: dict[str, Call] = {"torch.mm": partial(torch.mm, a, b.t())}
    if torch.backends.mkldnn.is_available():
        calls["oneDNN"] = partial(torch.ops.mkldnn._linear_pointwise, a, b, None, "none", [], "")
    if native.missing() is None and (dtype == "float32" or native.base().has_bfloat16()):
        calls["ours"] = partial(_ours, x, weight, dtype == "bfloat16")
    return calls


def _ours(x: Tensor, weight: Tensor, bf16: bool) -> Tensor:
    with torch.no_grad():
        return linear(x, weight, bf16=bf16)


class Run(NamedTuple):
    """One way to do the work of a case."""

    call: Call
    work: float
    """operations in its matrix products"""
    dtype: str = "float32"
    module: object = None
    """if it says in `ran` how it was run, this is reported"""


class Pair(NamedTuple):
    """Which two runs of a case are compared, and what is wanted."""

    ours: str
    peer: str
    mean: float | None = None
    """wanted of the geometric mean over the cases of a group"""
    each: float | None = None
    """wanted of every case"""
    per_work: bool = False
    """times are divided by each one's own work first"""

    def __str__(self) -> str:
        return f"{self.ours} / {self.peer}" + (", per operation" if self.per_work else "")


@dataclass(frozen=True)
class Case:
    """Runs that do the same, of one size."""

    group: str
    """cases of a group are summed up in one line"""
    name: str
    runs: dict[str, Run]
    pairs: tuple[Pair, ...]
    tokens: int
    """rows and steps that count"""


@dataclass(frozen=True)
class Result:
    """A case, measured."""

    case: Case
    times: Times
    limits: dict[str, list[float]]
    """dtype -> operations per second of the fastest product in each round"""

    def seconds(self, name: str) -> float:
        """The median over the rounds."""
        return float(np.median(self.times[name]))

    def rate(self, name: str) -> float:
        """Operations in matrix products per second."""
        return self.case.runs[name].work / self.seconds(name)

    def share(self, name: str) -> float:
        """Of the limit in the same round, the median over the rounds."""
        run = self.case.runs[name]
        limits = self.limits[run.dtype]
        shares = [run.work / took / limit for took, limit in zip(self.times[name], limits, strict=True)]
        return float(np.median(shares))

    def rounds(self, pair: Pair) -> list[float]:
        """How many times as fast `ours` was, round by round."""
        runs = self.case.runs
        scale = runs[pair.ours].work / runs[pair.peer].work if pair.per_work else 1.0
        taken = zip(self.times[pair.ours], self.times[pair.peer], strict=True)
        return [scale * peer / ours for ours, peer in taken]

    def ran(self, name: str) -> str:
        """The backend that Recurrent took."""
        return getattr(self.case.runs[name].module, "ran", "")


def measure(case: Case, limit: Limit, seconds: float, clock: Clock = time.perf_counter) -> Result:
    """The case's runs side by side, and the limit's own product takes turns with them."""
    calls = {name: run.call for name, run in case.runs.items()}
    beside = {f"{limit.size}^3 {dtype}": dtype for dtype in {run.dtype for run in case.runs.values()}}
    calls |= {name: products(dtype, limit.size)[limit.best(dtype)[0]] for name, dtype in beside.items()}
    times = race(calls, seconds, clock=clock)
    return Result(
        case, times, {dtype: [limit.work / took for took in times.pop(name)] for name, dtype in beside.items()}
    )


def load() -> list[float]:
    """Processes that ran or wanted to, on average over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "fused kernels": native.missing() or "compiled",
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
