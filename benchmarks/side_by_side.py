"""Compares named runs side by side in one process, and with the limit of this machine.

On a shared machine, times from different moments are hardly comparable. Here all runs take turns; a ratio is taken
within a round, under nearly the same conditions, and the median over many rounds is reported with an interval. Every
figure is also given in operations per second, and as a share of the fastest matrix product in the same minute.
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
"""processor: CPU time of all threads of this process, which other processes disturb less; only for a single thread"""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DRAWS = 2000
"""bootstrap resamples"""


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
        runs: by name; each is called once per round, in an order rotated by one place from round to round.
        seconds: new rounds are started until this much time has passed.
        least: minimum number of rounds.
        warm: warm-up calls of each before the first round.
        clock: returns the current time in seconds.
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
    """Times as fast: the median, and its 95 % confidence interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}\N{EN DASH}{self.high:.2f})"


def ratio(rounds: Sequence[float]) -> Ratio:
    """The median of per-round ratios, with a bootstrap interval over the rounds."""
    return geometric_mean([rounds])


def geometric_mean(cases: Iterable[Sequence[float]]) -> Ratio:
    """The geometric mean over cases of the median over rounds; each case's rounds are resampled separately."""
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
    """dtype -> engine -> operations per second, the median over rounds"""

    @property
    def work(self) -> float:
        """Operations of one product."""
        return 2.0 * self.size**3

    def best(self, dtype: str) -> tuple[str, float]:
        """The fastest engine, and its operations per second."""
        return max(self.rates[dtype].items(), key=lambda item: item[1])


def measure_limit(
    size: int, seconds: float, dtypes: Iterable[str] = tuple(DTYPES), clock: Clock = time.perf_counter
) -> Limit:
    """Products of two matrices [size, size] by each available engine, side by side."""
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
    """One implementation of a case."""

    call: Call
    work: float
    """operations in its matrix products"""
    dtype: str = "float32"
    module: object = None
    """if it has an attribute `ran`, the backend there is reported"""


class Pair(NamedTuple):
    """Two runs of a case to compare, and the targets."""

    ours: str
    peer: str
    mean: float | None = None
    """target for the geometric mean over the cases of a group"""
    each: float | None = None
    """target for every case"""
    per_work: bool = False
    """whether times are divided by each run's own work first"""

    def __str__(self) -> str:
        return f"{self.ours} / {self.peer}" + (", per operation" if self.per_work else "")


@dataclass(frozen=True)
class Case:
    """Runs that do the same work, at one size."""

    group: str
    """cases of a group are summarised in one line"""
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
        """Share of the limit in the same round, the median over the rounds."""
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
        """The backend that Recurrent used."""
        return getattr(self.case.runs[name].module, "ran", "")


def measure(case: Case, limit: Limit, seconds: float, clock: Clock = time.perf_counter) -> Result:
    """Times the case's runs side by side, in turn with the matrix product that sets the limit."""
    calls = {name: run.call for name, run in case.runs.items()}
    beside = {f"{limit.size}^3 {dtype}": dtype for dtype in {run.dtype for run in case.runs.values()}}
    calls |= {name: products(dtype, limit.size)[limit.best(dtype)[0]] for name, dtype in beside.items()}
    times = race(calls, seconds, clock=clock)
    return Result(
        case, times, {dtype: [limit.work / took for took in times.pop(name)] for name, dtype in beside.items()}
    )


def load() -> list[float]:
    """The load average over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def machine() -> dict[str, Any]:
    """The machine that the figures were measured on."""
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
