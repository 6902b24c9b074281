"""Writes a run to MLflow: one experiment per application, and the true status of each run.

Metrics are sent in batches, never one call per step; matrices and pictures are artifacts. Nothing is pickled: a model
is safetensors and JSON behind a pyfunc.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import mlflow
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from mlflow.models import ModelSignature
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

from unroll.app import App, Report
from unroll.config import Config, flat
from unroll.data.files import disk_full
from unroll.drawing.style import pngs
from unroll.tracking.code import code_digest, commit, device, machine
from unroll.tracking.example_table import write_records
from unroll.tracking.names import PRUNED, RESUMED, local_folder, stored
from unroll.tracking.requirements import requirements
from unroll.tracking.store import experiment, store_errors
from unroll.training.progress import Observer, Position

_MONITOR: Any = SystemMetricsMonitor
_ANY: Any = cast(Any, AnyType)()  # its constructor carries no types
FLUSH_SECONDS = 5.0
FLUSH_METRICS = 1000  # MLflow takes no more in one call
THEN = ", then "


def start(client: MlflowClient, app: App, config: Config, digest: str, tags: Mapping[str, str] | None = None) -> str:
    """The id of a new run of `app`, with its whole configuration, data digest, score, commit and code."""
    with store_errors():
        tags = {**_tags(app, digest), **_circumstances(app, config), **(tags or {})}
        id = str(client.create_run(experiment(client, app.name), tags=tags).info.run_id)
        try:
            client.log_batch(id, params=[Param(key, str(value)) for key, value in flat(config).items()])
            client.log_text(id, config.model_dump_json(indent=2), "config.json")
        except BaseException:
            client.set_terminated(id, "FAILED")
            raise
    return id


class Run(Observer):
    """A run in progress, new or resumed. An `Observer` of the training loop.

    Args:
        client: from `connect`.
        id: MLflow's run id.
        system_metrics: whether to sample processor, memory, disk and network in the background.
    """

    def __init__(self, client: MlflowClient, id: str, system_metrics: bool = True) -> None:
        self.client, self.id = client, id
        self._buffer: list[Metric] = []
        self._sent = time.monotonic()
        # In a separate thread, so that training does not wait for the disk.
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        with store_errors():
            client.update_run(id, status="RUNNING")
            stored = client.get_run(id)
            self._now, self._began = max(time.time(), stored.info.start_time / 1000), time.monotonic()
            # Steps that a resumed run repeats have been logged already.
            self._known = {key: _last_step(client, id, key) for key in stored.data.metrics}
        self._artifacts = local_folder(stored.info.artifact_uri)
        # The monitor's constructor and methods carry no types.
        self._monitor: Any = _MONITOR(id, resume_logging=True) if system_metrics else None
        if self._monitor:
            self._monitor.start()

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        """Observer: buffers the numbers of a step."""
        self.log(metrics, at.step)

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """Observer: logs the metrics of an evaluation and the epoch, by optimiser step."""
        self.log({**metrics, "epoch": at.epoch, "seconds": at.seconds}, at.step)

    def saving(self) -> None:
        """Observer: writes everything that a checkpoint will cover to the store before it."""
        self.flush()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffer metrics; they reach the store within seconds, in one call for many."""
        now = self._clock()
        named = ((stored(name), float(value)) for name, value in metrics.items())
        self._buffer += [Metric(k, v, now, step) for k, v in named if step > self._known.get(k, -1)]
        if len(self._buffer) >= FLUSH_METRICS or time.monotonic() - self._sent > FLUSH_SECONDS:
            self._send()

    def flush(self) -> None:
        """Write the buffered metrics to the store, and wait until they are there."""
        self._send()
        self._wait()

    def _send(self) -> None:
        """Hand the buffer to the writer. Raises the error of the previous write, if any."""
        self._wait()
        self._writing = self._writer.submit(self._write, self._buffer)
        self._buffer, self._sent = [], time.monotonic()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _write(self, metrics: Sequence[Metric]) -> None:
        with store_errors():
            for first in range(0, len(metrics), FLUSH_METRICS):
                self.client.log_batch(self.id, metrics=metrics[first : first + FLUSH_METRICS])

    def report(self, split: str, report: Report, step: int) -> None:
        """Metrics of a split under `split/name`, its signature as a tag, and one row per example as Parquet."""
        self.log({f"{split}/{name}": value for name, value in report.metrics.items()}, step)
        with self._writing_artifacts(), tempfile.TemporaryDirectory() as folder:
            self.client.set_tag(self.id, f"signature.{split}", report.signature)
            means = {name: asdict(mean) for name, mean in report.means.items()}
            self.client.set_tag(self.id, f"means.{split}", json.dumps(means))
            self.client.log_artifact(self.id, str(write_records(report.records, Path(folder), split)), "records")

    def figures(self, figures: Mapping[str, Figure]) -> None:
        """Pictures by name, as PNG under `figures/`; one that cannot be drawn is left out, with a note."""
        with self._writing_artifacts(), tempfile.TemporaryDirectory() as folder:
            for name, content in pngs(figures).items():
                path = Path(folder, f"{name}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(self.id, folder, "figures")

    def model(self, folder: Path, app: App) -> None:
        """A saved model (see `unroll.tracking.saved`) as MLflow's own LoggedModel behind a pyfunc."""
        # MLflow has no union of types, no pair of an array and a number, no picture: `check` of ours sees to these.
        kind = _ANY if app.values else "string"
        signature = ModelSignature(Schema([ColSpec(kind, "input")]), Schema([ColSpec(kind, "output")]))
        with (
            self._writing_artifacts(),
            _no_example_warning(),
            _active(self.id),
        ):
            mlflow.pyfunc.log_model(
                name="model", loader_module="unroll.tracking.saved", data_path=str(folder), signature=signature,
                pip_requirements=requirements(app.name),
            )  # fmt: skip

    def tag(self, name: str, value: str) -> None:
        """Sets a tag of the run."""
        with store_errors():
            self.client.set_tag(self.id, name, value)

    def pruned(self, reason: str) -> None:
        """End the run as KILLED, with a tag that says why the search stopped it."""
        self.tag(PRUNED, reason)
        self.finish("KILLED")

    def resumed(self, app: App, config: Config) -> bool:
        """Tag the run with the code, device and machine that it was resumed with. Returns whether the code changed."""
        with store_errors():
            tags = self.client.get_run(self.id).data.tags
        now = _circumstances(app, config)
        for name in ("device", "machine"):
            if now[name] not in tags.get(name, "").split(THEN):
                self.tag(name, THEN.join([tags.get(name, "unknown"), now[name]]))
        code, others = now["code.digest"], tags.get(RESUMED, "").split()
        if code not in (tags.get("code.digest"), *others):
            self.tag(RESUMED, " ".join([*others, code]))
        return code != tags.get("code.digest")

    @contextmanager
    def _writing_artifacts(self) -> Iterator[None]:
        """Artifacts are stored apart from metrics: their disk may be full when the store's is not."""
        temporary = Path(tempfile.gettempdir())
        with store_errors(), disk_full(self._artifacts or temporary, temporary):
            yield

    def finish(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED, after writing what is buffered."""
        if self._monitor:
            self._monitor.finish()
        try:
            self.flush()
        finally:
            self._writer.shutdown()
            with store_errors():
                self.client.set_terminated(self.id, status, self._clock())

    def _clock(self) -> int:
        """Milliseconds since 1970; if the clock is set back meanwhile, the run still does not end before it began."""
        return int(1000 * (self._now + time.monotonic() - self._began))


def publish(client: MlflowClient, topic: str, file: Path, tags: Mapping[str, str]) -> str:
    """Keep a file that is about several runs, as a run of the experiment of this topic. Returns its id."""
    with store_errors():
        id = str(client.create_run(experiment(client, topic), tags=dict(tags)).info.run_id)
        client.log_artifact(id, str(file))
        client.set_terminated(id, "FINISHED")
    return id


def _tags(app: App, digest: str) -> dict[str, str]:
    source = {"mlflow.source.name": f"unroll train --app {app.name}", "mlflow.source.type": "LOCAL"}
    return {
        "app": app.name, "data.digest": digest, "mlflow.note.content": app.about,
        "score": app.score.name, "score.mode": app.score.mode, **source, **commit(),
    }  # fmt: skip


def _circumstances(app: App, config: Config) -> dict[str, str]:
    return {"code.digest": code_digest(app.name), "device": device(config.train.device), "machine": machine()}


def _last_step(client: MlflowClient, id: str, key: str) -> int:
    return max((metric.step for metric in client.get_metric_history(id, key)), default=-1)


@contextmanager
def _active(run: str) -> Iterator[None]:
    """MLflow's own run context would end it as FINISHED before its results are written: a process killed in between
    would leave a run that looks complete and is not resumed.
    """
    mlflow.start_run(run_id=run, log_system_metrics=False)
    try:
        yield
    finally:
        mlflow.end_run("RUNNING")


@contextmanager
def _no_example_warning() -> Iterator[None]:
    """An input example would make MLflow run the model once more while logging; the signature is given instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example.*")
        yield
