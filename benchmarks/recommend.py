"""Recommendation compared with plain torch: `python benchmarks/recommend.py [--train] [--prepare] [--ranking]`.

--train     clicks per CPU second: this application's step, and a session-parallel GRU with sampled softmax in plain
            torch as usually written, on the same sessions, rows, sizes and negatives; interleaved, median
--prepare   ten million events from CSV to prepared splits: seconds and peak memory, in a separate process
--ranking   10,000 sessions ranked against 50,000 items: seconds and peak memory, in a separate process

Everything runs on one thread, and time is process CPU time, so that other load matters little.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unroll.apps.recommend import data, preparation, train
from unroll.apps.recommend.catalogue import Catalogue
from unroll.apps.recommend.model import Recommender
from unroll.apps.recommend.objective import Objective
from unroll.apps.recommend.sources import table
from unroll.config import OptimizerConfig
from unroll.data.arrays import write_arrays
from unroll.data.store import Store
from unroll.recurrence.state import detach
from unroll.sequence import sessions
from unroll.sequence.ranking import rank
from unroll.training.optimizer import optimizer

ITEMS, HIDDEN, ROWS, STEPS, SAMPLES, ALPHA = 20_000, 128, 64, 16, 2048, 0.5
CLICKS, ROUNDS = 4 * 1024, 5
Counter = Callable[[], int]
"""trains on a few windows; returns the number of clicks"""


def compare_training(folder: Path) -> None:
    """Ours in windows of 1 and of 16, plain torch in windows of 1 (as published) and of 16."""
    items, offsets = _sessions(4000)
    counts = np.bincount(items, minlength=ITEMS)
    subjects = {
        f"{who}, T = {steps}": make(folder, items, offsets, counts, steps)
        for who, make in (("unroll", _ours), ("plain torch", _plain))
        for steps in (STEPS, 1)
    }
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            began, clicks = time.process_time(), 0
            while clicks < CLICKS:
                clicks += subject()
            rates[name].append(clicks / (time.process_time() - began))
    print(
        f"{ITEMS:,} items, {HIDDEN} units, {ROWS} rows, {SAMPLES} negatives; clicks per CPU second, median of {ROUNDS}"
    )
    for name, values in rates.items():
        print(f"  {name:22} {statistics.median(values):10,.0f}   {min(values):,.0f} to {max(values):,.0f}")
    for steps in (STEPS, 1):
        for against in (1, steps):
            pairs = zip(rates[f"unroll, T = {steps}"], rates[f"plain torch, T = {against}"], strict=True)
            print(f"  unroll T = {steps} / plain T = {against}: {statistics.median(a / b for a, b in pairs):.2f}")


def _sessions(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    lengths = 2 + random.geometric(1 / 6, count)
    return (random.pareto(1.0, lengths.sum()) * 50).astype(np.int64) % ITEMS, np.append(0, lengths.cumsum())


def _ours(folder: Path, items: Any, offsets: Any, counts: Any, steps: int) -> Counter:
    clicks = _clicks(folder / f"ours-{steps}", items, offsets)
    catalogue = _catalogue(counts)
    objective = Objective(torch.from_numpy(counts), name="sampled-softmax", samples=SAMPLES, alpha=ALPHA)
    model = Recommender(catalogue, objective, hidden=HIDDEN)
    chosen = optimizer(OptimizerConfig(name="adam"), model)
    batches = _forever(sessions.loader(clicks.window, offsets, ROWS, steps))
    state: Any = None

    def learn() -> int:
        nonlocal state
        batch = next(batches)
        step = train.step(model, batch, state)
        chosen.zero_grad()
        step.loss.backward()
        chosen.step()
        state = detach(step.state)
        return int(step.size)

    return learn


class _Plain(nn.Module):
    """As usually written: one step at a time, with the hidden states of finished sessions set to zero."""

    def __init__(self, counts: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ITEMS, HIDDEN)
        self.bias = nn.Embedding(ITEMS, 1)
        self.gru = nn.GRU(HIDDEN, HIDDEN)
        self.register_buffer("weights", torch.from_numpy(counts).float() ** ALPHA)
        self.weights: torch.Tensor

    def forward(self, item: Any, hidden: Any, finished: Any) -> Any:
        hidden = hidden * (~finished).float()[None, :, None]
        output, hidden = self.gru(self.embedding(item)[None], hidden)
        return output[0], hidden

    def loss(self, output: Any, target: Any) -> Any:
        negatives = torch.multinomial(self.weights, SAMPLES, replacement=True)
        candidates = torch.cat([target, negatives])
        logits = output @ self.embedding(candidates).T + self.bias(candidates)[:, 0]
        return nn.functional.cross_entropy(logits, torch.arange(len(target)))


def _plain(folder: Path, items: Any, offsets: Any, counts: Any, steps: int) -> Counter:
    model = _Plain(counts)
    chosen = torch.optim.Adam(model.parameters())
    stream = _session_parallel(torch.from_numpy(items), offsets)
    hidden = torch.zeros(1, ROWS, HIDDEN)

    def learn() -> int:
        nonlocal hidden
        outputs, targets = [], []
        for item, target, finished in islice(stream, steps):
            output, hidden = model(item, hidden, finished)
            outputs.append(output)
            targets.append(target)
        loss = model.loss(torch.cat(outputs), torch.cat(targets))
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        hidden = hidden.detach()
        return steps * ROWS

    return learn


def _session_parallel(items: Any, offsets: Any) -> Iterator[Any]:
    """The published scheme: when its session ends, a row continues with the next one."""
    order = cycle(range(len(offsets) - 1))
    current = np.array([next(order) for _ in range(ROWS)])
    place = offsets[current].copy()
    finished = np.ones(ROWS, dtype=bool)
    while True:
        yield items[place], items[place + 1], torch.from_numpy(finished.copy())
        place += 1
        finished = place + 1 >= offsets[current + 1]
        for row in np.flatnonzero(finished):
            current[row] = next(order)
            place[row] = offsets[current[row]]


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _catalogue(counts: Any) -> Catalogue:
    names = tuple(str(number) for number in range(len(counts)))
    return Catalogue(names, names, counts, np.zeros((len(counts), 0), np.float32))


def _clicks(folder: Path, items: Any, offsets: Any) -> data.Clicks:
    count = len(items)
    arrays = {
        "items": items.astype(np.int32), "gaps": np.zeros(count, np.uint8), "target": ~sessions.starts(offsets),
        "best": np.zeros(count, np.int32), "offsets": offsets, "names": np.arange(len(offsets) - 1).astype(str),
    }  # fmt: skip
    write_arrays(folder, arrays)
    return data.Clicks(folder)


def prepare_ten_million(folder: Path, events: int = 10_000_000) -> None:
    """A generated CSV file of one month in a shop, through the application's own preparation."""
    path = folder / "clicks.csv"
    _write_csv(path, events)
    print(f"{events:,} events, {path.stat().st_size / 2**20:,.0f} MiB of CSV")
    _in_own_process("--prepare-file", str(path))


def _write_csv(path: Path, events: int) -> None:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    random = np.random.default_rng(0)
    session = random.integers(0, events // 6, events)
    columns = {
        "SessionId": session,
        "ItemId": (random.pareto(1.0, events) * 500).astype(np.int64) % 50_000,
        "Time": 1_700_000_000 + (session % 30) * 86_400 + random.integers(0, 3600, events),
    }
    pacsv.write_csv(pa.table(columns), path)


def prepare_file(path: Path) -> None:
    """Prepare one file, and print the cost."""
    began, cpu = time.perf_counter(), time.process_time()
    store = Store(path.parent / "store")
    prepared = preparation.prepare(store, table.source(path, None), protocol=None, days=1.0, support=5, features=False)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"  prepared in {wall:.1f} s ({cpu:.1f} CPU seconds), peak {_peak():,.0f} MiB")
    splits = {name: data.Clicks(prepared.folder / name) for name in ("train", "val", "test")}
    print("  " + ", ".join(f"{name} {len(part):,} sessions" for name, part in splits.items()))


def rank_ten_thousand() -> None:
    """10,000 sessions against 50,000 items."""
    vectors, hidden = torch.randn(50_000, HIDDEN), torch.randn(10_000, HIDDEN)
    targets = torch.randint(50_000, (10_000,))
    rank(lambda part: hidden[part][:2] @ vectors.T, targets[:2], k=20)
    before, cpu = _peak(), time.process_time()
    rank(lambda part: hidden[part] @ vectors.T, targets, k=20)
    print("10,000 sessions x 50,000 items (all scores at once would be 1,907 MiB)")
    print(f"  ranked in {time.process_time() - cpu:.1f} CPU seconds, {_peak() - before:,.0f} MiB more than before")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(*arguments: str) -> None:
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def main() -> None:
    """Run the selected benchmarks; all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "prepare", "ranking", "ranking-here"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--prepare-file", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.prepare_file:
        return prepare_file(chosen.prepare_file)
    if chosen.ranking_here:
        return rank_ten_thousand()
    every = not (chosen.train or chosen.prepare or chosen.ranking)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.train or every:
            compare_training(Path(folder))
        if chosen.ranking or every:
            _in_own_process("--ranking-here")
        if chosen.prepare or every:
            prepare_ten_million(Path(folder))
    return None


if __name__ == "__main__":
    main()
