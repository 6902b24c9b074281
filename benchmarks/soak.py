"""Checks for leaks in a long training: memory, open files, threads, and disk space.

    python -m benchmarks.soak --minutes 120 --out soak

Monitors one real `invoke train` with unlimited epochs from outside, and stops it with Ctrl-C when the time is over. Its
data, checkpoints and tracking store are folders in `--out`, beside samples.jsonl (one line every half minute, written
immediately), soak.json (the summary) and soak.png. `--only-sum-up` makes the latter two from the samples of a soak that
is still running.

The C library caches freed memory, a few percent at times, which is not the training's doing; MALLOC_MMAP_THRESHOLD_ and
MALLOC_TRIM_THRESHOLD_ tell it to return everything at once. `--as-it-is` leaves this at its default.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import psutil
from scipy.stats import theilslopes

from unroll.data.files import read_jsonl, write_json

ENDLESS = 1_000_000
"""epochs"""
WARM_UP = 10
"""warm-up minutes, after which nothing may grow"""
SPAN = 10
"""minutes at the start and at the end that are compared"""
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MIB = 1 << 20
Sample = dict[str, float]


def size(folder: Path) -> int:
    """Bytes in a folder; files that disappear meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def sample(process: psutil.Process, out: Path, began: float) -> Sample:
    """The current state of the training and its files. Sizes in MiB, times in minutes."""
    memory, processor = process.memory_full_info(), process.cpu_times()
    return {
        "minutes": (time.monotonic() - began) / 60,
        "resident": memory.rss / MIB,
        "private": memory.uss / MIB,
        "files": process.num_fds(),
        "threads": process.num_threads(),
        "processor": (processor.user + processor.system) / 60,
        "runs": size(out / "runs") / MIB,
        "store": sum(path.stat().st_size for path in out.glob("mlflow.db*")) / MIB,
    }


def places(out: Path) -> dict[str, str]:
    """The environment of a training that keeps everything in one folder."""
    return {
        "UNROLL_HOME": str(out), "UNROLL_DATA": str(out / "data"), "UNROLL_RUNS": str(out / "runs"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{out.resolve() / 'mlflow.db'}",
    }  # fmt: skip


def watch(
    command: Sequence[str], out: Path, minutes: float, every: float, environment: Mapping[str, str]
) -> Iterator[Sample]:
    """Run the command for `seconds`, sampling at intervals; then Ctrl-C."""
    began = time.monotonic()
    with (out / "training.log").open("wb") as log:
        training = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    process = psutil.Process(training.pid)
    try:
        while time.monotonic() - began < 60 * minutes:
            time.sleep(every)
            if training.poll() is not None:
                raise SystemExit(f"the training ended by itself, with code {training.returncode}: see {log.name}")
            yield sample(process, out, began)
    finally:
        training.send_signal(signal.SIGINT)
        training.wait()
    if training.returncode != 128 + signal.SIGINT:
        raise SystemExit(f"Ctrl-C ended the training with code {training.returncode}: see {log.name}")


def growth(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """How much a quantity grew: the medians of the first and last minutes, and a robust line fit."""
    steady = [one for one in samples if one["minutes"] >= WARM_UP]
    first = [one[name] for one in steady if one["minutes"] < WARM_UP + SPAN]
    last = [one[name] for one in steady if one["minutes"] > steady[-1]["minutes"] - SPAN]
    slope, *_ = theilslopes([one[name] for one in steady], [one["minutes"] for one in steady])
    begin, end = statistics.median(first), statistics.median(last)
    fitted = slope * (steady[-1]["minutes"] - steady[0]["minutes"])
    return {
        "begin": begin, "end": end, "least": min(one[name] for one in steady), "most": max(one[name] for one in steady),
        "growth_percent": 100 * (end / begin - 1), "fitted_growth_percent": 100 * fitted / begin,
    }  # fmt: skip


def picture(samples: Sequence[Sample], path: Path) -> None:
    """Memory, handles and disk over time."""
    rows: list[tuple[str, dict[str, str]]] = [
        ("memory (MiB)", {"resident": "resident", "private": "private to the process"}),
        ("count", {"files": "open files", "threads": "threads"}),
        ("disk (MiB)", {"store": "tracking store", "runs": "run folder"}),
    ]
    figure, all_axes = plt.subplots(len(rows), 1, figsize=(8, 7.5), sharex=True, constrained_layout=True)
    minutes = [one["minutes"] for one in samples]
    for axes, (label, curves) in zip(all_axes, rows, strict=True):
        for (name, text), (colour, style) in zip(curves.items(), (("#0072B2", "-"), ("#D55E00", "--")), strict=True):
            axes.plot(minutes, [one[name] for one in samples], color=colour, linestyle=style, label=text)
        axes.axvspan(0, WARM_UP, color="0.9", zorder=0)
        axes.set(ylabel=label, ylim=(0, None), xlim=(0, minutes[-1]))
        axes.legend(loc="lower right", frameon=False)
        axes.grid(alpha=0.3)
    all_axes[-1].set_xlabel("minutes of training (grey: warm-up, not judged)")
    figure.savefig(path, dpi=110)


def sum_up(samples: Sequence[Sample], command: Sequence[str], out: Path) -> dict[str, Any]:
    """soak.json and soak.png from the samples so far."""
    result: dict[str, Any] = {
        "command": " ".join(command),
        "minutes": samples[-1]["minutes"],
        "processor_minutes": samples[-1]["processor"],
        "samples": len(samples),
        **{name: growth(samples, name) for name in ("resident", "private", "files", "threads", "runs", "store")},
    }
    write_json(out / "soak.json", result)
    picture(samples, out / "soak.png")
    return result


def main() -> None:
    """Run the soak test, or sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", default="language")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=30, help="seconds between two samples")
    parser.add_argument("--out", type=Path, default=Path("soak"))
    parser.add_argument("--as-it-is", action="store_true")
    parser.add_argument("--only-sum-up", action="store_true")
    chosen = parser.parse_args()
    command = ["train", "--app", chosen.app, "--preset", "smoke", "--set", f"train.epochs={ENDLESS}"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "samples.jsonl"
    if not chosen.only_sum_up:
        words = [sys.executable, "-m", "invoke", *command]
        environment = places(chosen.out) | ({} if chosen.as_it_is else AT_ONCE)
        with path.open("w") as lines:
            for one in watch(words, chosen.out, chosen.minutes, chosen.every, environment):
                print(json.dumps(one), file=lines, flush=True)
    print(json.dumps(sum_up(list(read_jsonl(path)), ["invoke", *command], chosen.out), indent=2))


if __name__ == "__main__":
    main()
