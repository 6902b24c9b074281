"""`invoke train`: prepare, train, evaluate, track; or resume a run that was stopped."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout
from lightning.fabric import seed_everything
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from torch import nn

from unroll import app as apps
from unroll import places, tracking
from unroll.app import App, Data, Report
from unroll.commands.loading import prepared
from unroll.config import Config
from unroll.console import duration, say, show_config, show_metrics, show_predictions
from unroll.data.files import read_json, write_json, writing
from unroll.diagnosis import in_training
from unroll.drawing.style import as_written, noted
from unroll.errors import UsageError, UserError
from unroll.interrupt import Interrupted, StopRequest
from unroll.places import runs_folder
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.rnn import backends
from unroll.search.grid import values
from unroll.tracking import model_registry, saved
from unroll.training import budget
from unroll.training.baselines import Baselines, measured, unbeaten, warning
from unroll.training.evaluation import evaluate, signature
from unroll.training.loop import fit
from unroll.training.progress import Fitted, Observer, Pruned
from unroll.training.progress_line import ProgressLine

UNFINISHED = ("RUNNING", "KILLED", "FAILED")


def train(
    names: Sequence[str],
    preset: str | None = None,
    settings: Sequence[str] = (),
    resume: str | None = None,
    *,
    seeds: int = 0,
    jobs: int = 1,
) -> dict[str, Any]:
    """Train one application, or a grid: several applications, settings of several values, several seeds.

    Returns:
        of one training its run; of a grid as `unroll.commands.grid.train_grid`.
    """
    if seeds < 0 or jobs < 1:
        raise UsageError("--seeds wants a number from 1 on, and so does --jobs")
    if resume and (preset or settings or seeds):
        raise UsageError("--resume uses the run's own configuration; leave --preset, --set and --seeds out")
    if resume and len(names) > 1:
        raise UsageError(f"--resume {resume}: a run is of one application")
    if len(names) == 1 and not seeds and not any(len(values(setting)) > 1 for setting in settings):
        return train_one(names[0], preset, settings, resume)
    from unroll.commands.grid import train_grid

    return train_grid(names, preset, settings, seeds, jobs)


@dataclass(frozen=True)
class _Job:
    """All that a training needs, new or resumed."""

    app: App
    config: Config
    data: Data
    run: tracking.Run
    folder: Path


def train_one(
    name: str,
    preset: str | None = None,
    settings: Sequence[str] = (),
    resume: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """One training, in this process, with further tags and observers; what became of it."""
    app, client = apps.load(name), tracking.connect()
    id, given, digest = (
        _stopped(client, app, resume) if resume else (None, app.config(preset or "default", settings), "")
    )
    app = app.with_score_for(given)
    say(f"{app.name}: {app.about}")
    show_config(app, given)
    data = _data(app, given)
    if digest and data.digest != digest:
        raise UserError(
            f"--resume {resume}: the prepared data are not those of that run (digest {data.digest[:12]}, "
            f"was {digest[:12]}); train a new run"
        )
    config = given if resume else budget.planned(app, preset or "default", settings, given, data)
    for line in budget.told(given, config, data):
        say(line)
    # Before there is a run: one that could not keep anything would not be one.
    with writing(runs_folder()):
        runs_folder().mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=runs_folder()).close()
    id = id or tracking.start(client, app, config, data.digest, tags)
    folder = runs_folder() / id
    with _alone(folder), _outcome(app, client, id) as run:
        if resume:
            model_registry.drop_unfinished(client, id)
            if run.resumed(app, config):
                say("note: the code is not the one that this run began with; the run is tagged (code.resumed)")
        write_json(folder / "run.json", {"config": config.model_dump(mode="json"), "digest": data.digest})
        return _run(_Job(app, config, data, run, folder), bool(resume), observers)


def _run(job: _Job, resume: bool, observers: Sequence[Observer]) -> dict[str, Any]:
    app, config, data, run = job.app, job.config, job.data, job.run
    seed_everything(config.train.seed, verbose=False)
    model = app.network(config, data.facts)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"{parameters:,} parameters; data {data.digest[:12]}; run {run.id}")
    if (why := native.missing()) is not None:
        say(f"note: no compiled kernels: {why}; recurrent layers take torch's or the loop over steps, and more time")
    with ProgressLine(app) as progress:
        told: list[Observer] = [run, progress, *observers]
        fitted = fit(
            app, config, data, model, job.folder, told, resume=resume,
            probe=in_training.gradient_probe(app, run), explain=in_training.verdict(app),
        )  # fmt: skip
    run.tag("backends", backends(model))
    with StopRequest() as stop:
        report = evaluate(app, model, stop.watch(data.test))
    how = signature(report, "test", data)
    # The model first: whatever comes after it, an application's own pictures too, may fail.
    saved.save(job.folder / "model", app, config, data.facts, data.digest, model)
    run.model(job.folder / "model")
    simple = measured(app, config, data)
    _keep(job, model, fitted, replace(report, signature=how), simple, parameters)
    _tell(app, run, fitted, report, simple, how)
    metrics = {f"test/{name}": value for name, value in report.metrics.items()}
    return {
        "app": app.name,
        "run": run.id,
        "status": "FINISHED",
        "metrics": metrics,
        "signature": how,
        "seconds": round(fitted.position.seconds, 2),
        "epochs": fitted.position.epoch,
        "steps": fitted.position.step,
        "best": fitted.best,
        "best_epoch": fitted.best_epoch,
        "parameters": parameters,
        "data_wait": round(fitted.costs.data_wait, 4),
        "unbeaten": list(unbeaten(app.score, report.metrics, simple)),
    }


def _keep(job: _Job, model: nn.Module, fitted: Fitted, report: Report, baselines: Baselines, parameters: int) -> None:
    """Put everything that the run has shown into the tracking store."""
    app, run, at = job.app, job.run, fitted.position
    run.report("test", report, at.step)
    costs = {"parameters": parameters, "train/total_seconds": at.seconds, **fitted.costs.metrics()}
    best = {} if fitted.best is None else {f"best/{app.score.name}": fitted.best, "best/epoch": fitted.best_epoch}
    simple = {f"baseline/{method}/{name}": v for method, row in baselines.items() for name, v in row.items()}
    run.log({**costs, **best, **simple}, at.step)
    drawn: Mapping[str, Figure] = {}
    if app.figures:
        with as_written(), noted("pictures"):
            drawn = app.figures(model.eval(), job.data.test, report)
    run.figures(drawn)


def _tell(app: App, run: tracking.Run, fitted: Fitted, report: Report, baselines: Baselines, how: str) -> None:
    at = fitted.position
    say(
        f"stopped after {at.epoch} epochs, {duration(at.seconds)} (limit: {fitted.stopped}); weights of epoch "
        f"{fitted.best_epoch}; {100 * fitted.costs.data_wait:.1f} % of the time spent waiting for data"
    )
    show_metrics("held-out test split", {"test": report.metrics, **baselines})
    say(f"signature: {how}")
    show_predictions(report.records[:3])
    say(f"next: invoke predict --app {app.name} --run {run.id[:8]}")
    say(f"      invoke compare --app {app.name}      invoke ui")
    say(f"kept: {places.told()}")
    if text := warning(app.score, report.metrics, baselines):
        say(f"note: {text}")


def _data(app: App, config: Config) -> Data:
    data = prepared(app, config)
    for note in data.notes:
        say(f"note: {note}")
    return data


def _stopped(client: MlflowClient, app: App, reference: str) -> tuple[str, Config, str]:
    """(id, configuration, data digest) of a run that did not come to its end."""

    def kept(run: tracking.Logged) -> Path:
        return runs_folder() / run.id / "run.json"

    run = tracking.find(
        client, app.name, reference, lambda run: run.status in UNFINISHED and kept(run).exists(), runs_folder()
    )
    path = kept(run)
    if not path.exists():
        raise UserError(f"{path}: that run's checkpoints are not here; set UNROLL_RUNS to the folder that has them")
    started = read_json(path)
    return run.id, type(app.presets["default"]).parse(started["config"]), started["digest"]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process trains a run."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
    lock = FileLock(folder / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"run {folder.name[:8]}: another process is training it") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _outcome(app: App, client: MlflowClient, id: str) -> Iterator[tracking.Run]:
    """The run, under way; it ends with what happened, and whatever happened goes on to the caller."""
    run = tracking.Run(client, id)
    try:
        yield run
    except (Interrupted, KeyboardInterrupt):
        run.finish("KILLED")
        say(f"stopped; resume with: invoke train --app {app.name} --resume {id[:8]}")
        raise
    except Pruned as reason:
        run.pruned(str(reason))
        raise
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish("FINISHED")
