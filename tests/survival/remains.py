"""What a training leaves behind, in a form that can be compared."""

import json
import math
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.survival.driver import COUNTS
from unroll.training import checkpoint

MEASURED = re.compile(r"system/.*|seconds|train/data_wait|train/total_.*|train/peak_memory_mb")
"""metrics that are other ones each time"""
EACH_STEP = re.compile(r"seconds|train/data_wait")
"""of these, those that come with each step or evaluation, and not once in a while"""


def statuses(folder: Path) -> dict[str, str]:
    """Run -> FINISHED, FAILED, KILLED or RUNNING, of the tracking store in a folder."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return dict(store.execute("SELECT run_uuid, status FROM runs").fetchall())


@dataclass(frozen=True)
class Remains:
    """Of the one training in a folder that got as far as having metrics."""

    folder: Path
    data: Path
    run: str
    status: str
    duration: float
    """seconds, as MLflow has it"""
    model: dict[str, bytes]
    """the files of the saved model by name; the folder of the data, which some name, reads DATA"""
    last: Any
    """the last checkpoint"""
    metrics: dict[str, list[tuple[int, float]]]
    """key -> (step, value), sorted"""
    counts: dict[str, int]
    """how often each kind of point was passed in the last process; none where that was killed on its way out"""
    seconds: float
    """that it took; NaN likewise"""

    @classmethod
    def of(cls, folder: Path, data: Path) -> "Remains":
        """Read them. Raises ValueError when there is not exactly one such run."""
        [run] = cls.all(folder, data)
        return run

    @classmethod
    def all(cls, folder: Path, data: Path) -> list["Remains"]:
        """Of all trainings in a folder."""
        metrics: dict[str, dict[str, list[tuple[int, float]]]] = {}
        with closing(sqlite3.connect(folder / "mlflow.db")) as store:
            for run, key, step, value in store.execute("SELECT run_uuid, key, step, value FROM metrics ORDER BY step"):
                metrics.setdefault(run, {}).setdefault(key, []).append((step, value))
            runs = store.execute("SELECT run_uuid, status, end_time - start_time FROM runs").fetchall()
        return [cls._read(folder, data, *row, metrics[row[0]]) for row in runs if row[0] in metrics]

    @classmethod
    def _read(cls, folder: Path, data: Path, run: str, status: str, duration: int, metrics: Any) -> "Remains":
        model = folder / "runs" / run / "model"
        counted = folder / COUNTS
        counts = json.loads(counted.read_text()) if counted.exists() else {"seconds": math.nan}
        return cls(
            folder, data, run, status, duration / 1000,
            {path.name: path.read_bytes().replace(str(data).encode(), b"DATA") for path in sorted(model.iterdir())},
            checkpoint.load(folder / "runs" / run / "last.safetensors"), metrics, counts, counts.pop("seconds"),
        )  # fmt: skip

    def assert_same(self, other: "Remains") -> None:
        """Weights and optimiser are the same bits to the end; no metric is lost, doubled or other."""
        assert self.status == other.status == "FINISHED"
        assert [name for name, content in self.model.items() if content != other.model.get(name)] == []
        differences = list(unequal(self.last, other.last))
        assert not differences, differences
        for key, points in self.metrics.items():
            if MEASURED.fullmatch(key):
                assert key.startswith("system/") or key in other.metrics, key
                if EACH_STEP.fullmatch(key):
                    assert [step for step, _ in points] == [step for step, _ in other.metrics[key]], key
            else:
                assert points == other.metrics.get(key), key
        for key, points in other.metrics.items():
            assert key in self.metrics or MEASURED.fullmatch(key), key
            steps = Counter(step for step, _ in points)
            assert key.startswith("system/") or set(steps.values()) == {1}, key

    def leftovers(self) -> list[Path]:
        """Half-written files and folders among data and checkpoints."""
        return [
            path for root in (self.data, self.folder / "runs") for path in root.rglob("*")
            if path.name.endswith((".tmp", ".old", ".part")) or path.name == "new.safetensors"
        ]  # fmt: skip


AFTERWARDS = ("seconds", "costs", "random", "loops", "epoch")
"""in a checkpoint: what was measured; and the generators and positions, which nothing depends on when all is over. That
they were right before is to be seen in the loss of each step, where dropout masks and the order of the data show"""


def unequal(a: Any, b: Any, place: str = "checkpoint") -> list[str]:
    """Where two trees differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{place}: {sorted(a, key=str)} and {sorted(b, key=str)}"]
        return [line for key in a if key not in AFTERWARDS for line in unequal(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [line for i, pair in enumerate(zip(a, b, strict=True)) for line in unequal(*pair, f"{place}[{i}]")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same = np.array_equal(a, b)
    else:
        same = type(a) is type(b) and a == b
    return [] if same else [place]
