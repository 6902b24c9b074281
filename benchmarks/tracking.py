"""The cost of tracking during training, and the time to compare many runs.

    python -m benchmarks.tracking
    python -m benchmarks.tracking --runs 1000 --examples 500 --steps 2000

Prints the seconds of `compare` over a store of that many finished runs with records, and the share of a core used by
logging every step of a training at 20 steps per second.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from unroll import app as apps
from unroll import tracking
from unroll.app import Mean
from unroll.comparison.question import Question, ask
from unroll.config import flat
from unroll.training.progress import Position

CELLS = ("elman", "lstm", "gru", "mgu")
APP = "speech"
SPEAKERS = 25
RATE = 20
"""optimiser steps per second"""
METRICS = 8
"""numbers per step; the loop logs six, plus those of the application"""


@contextmanager
def clock(what: str) -> Iterator[None]:
    """Prints how long the block took."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - wall:.2f} s, {time.process_time() - processor:.2f} s of processor time")


def overhead(client: MlflowClient, steps: int) -> None:
    """A training that computes nothing: its steps sleep, so all processor time is spent on tracking, however busy the
    machine. Writing runs in a separate thread; at worst, if no other core is free, training pays all of it.
    """
    app = apps.load(APP)
    run = tracking.Run(client, tracking.start(client, app, app.config("smoke"), "d" * 64), system_metrics=False)
    numbers = {f"train/number_{i}": float(i) for i in range(METRICS)}
    told, processor = 0.0, time.process_time()
    for step in range(1, steps + 1):
        time.sleep(1 / RATE)
        began = time.perf_counter()
        run.step(Position(step, 1, 1, step / steps, step / RATE), 1.0, numbers)
        told += time.perf_counter() - began
    run.flush()
    processor = time.process_time() - processor
    run.finish("FINISHED")
    whole = steps / RATE / 100
    print(
        f"tracking {METRICS} numbers at each of {steps:,} steps, {RATE} a second: {processor / whole:.2f} % of a core, "
        f"of which training waits for {told / whole:.2f} %"
    )


def fill(client: MlflowClient, runs: int, examples: int) -> None:
    """Finished runs of four cells, with all settings, thirty metrics and records."""
    app = apps.load(APP)
    experiment = client.create_experiment(APP)
    settings, generator = flat(app.presets["default"]), np.random.default_rng(0)
    words, now = generator.integers(3, 9, examples), int(time.time() * 1000)
    for number in range(runs):
        cell, seed = CELLS[number % len(CELLS)], number // len(CELLS)
        errors = generator.binomial(words, 0.1 + 0.01 * (number % len(CELLS)) + generator.normal(0, 0.005))
        tags = {"data.digest": "d" * 64, "signature.test": "wer", "score": "wer", "score.mode": "min"}
        tags["means.test"] = json.dumps({"wer": asdict(Mean("score", "words"))})
        run = client.create_run(experiment, tags=tags)
        params = [
            Param(key, str(value)) for key, value in (settings | {"model.cell": cell, "train.seed": seed}).items()
        ]
        values = {f"system/number_{i}": float(i) for i in range(28)} | {"parameters": 1000.0 + number % 4}
        values["test/wer"] = errors.sum() / words.sum()
        metrics = [Metric(key, float(value), now, 1) for key, value in values.items()]
        client.log_batch(run.info.run_id, metrics, params, [RunTag("made", "benchmark")])
        folder = Path(run.info.artifact_uri.removeprefix("file://")) / "records"
        folder.mkdir(parents=True)
        ids = [f"utterance {i}" for i in range(examples)]
        groups = [f"speaker {i % SPEAKERS}" for i in range(examples)]
        table = {"id": ids, "reference": ids, "prediction": ids, "score": errors, "words": words, "group": groups}
        pq.write_table(pa.table(table), folder / "test.parquet")
        client.set_terminated(run.info.run_id, "FINISHED")


def main() -> None:
    """Both measurements, in a separate store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UNROLL_HOME"] = folder
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        client = tracking.connect()
        with clock(f"making a store of {given.runs:,} runs"):
            fill(client, given.runs, given.examples)
        question = Question(by=("model.cell",))
        with clock(f"compare over {given.runs:,} runs of {given.examples:,} examples"):
            found = ask(client, apps.load(APP), question)
        print(f"  {found.how}; groups of {[len(group.values) for group in found.groups]}")
        with clock("once more"):
            ask(client, apps.load(APP), question)
        overhead(client, given.steps)


if __name__ == "__main__":
    main()
