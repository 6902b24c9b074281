"""One training in this process: data, model, loop, evaluation, and everything saved and reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning.fabric import seed_everything
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from torch import nn

from unroll import app as apps
from unroll import places, tracking
from unroll.app import App, Data, Report
from unroll.commands.job import UNFINISHED, JobFolder, check_writable, outcome
from unroll.commands.loading import prepared
from unroll.config import Config
from unroll.console import duration, say, show_config, show_metrics, show_predictions
from unroll.diagnosis import in_training
from unroll.drawing.style import as_written
from unroll.errors import UserError, noted
from unroll.interrupt import StopRequest
from unroll.places import runs_folder
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.rnn import backends
from unroll.surface import option, task
from unroll.tracking import model_registry
from unroll.tracking.saved import save
from unroll.training import budget
from unroll.training.baselines import Baselines, measured, unbeaten, warning
from unroll.training.evaluation import evaluate
from unroll.training.loop import fit
from unroll.training.progress import Fitted, Observer
from unroll.training.progress_line import ProgressLine
from unroll.training.signatures import signature


@dataclass(frozen=True)
class _Job:
    """Everything that a training needs, new or resumed."""

    app: App
    config: Config
    data: Data
    folder: JobFolder
    resume: bool


def train_one(
    name: str,
    preset: str | None = None,
    settings: Sequence[str] = (),
    resume: str | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Train in this process, with further tags and observers, and return the result."""
    client = tracking.connect()
    job = _open(client, name, preset or "default", settings, resume, tags or {})
    with job.folder.alone(), outcome(job.app, client, job.folder.id) as run:
        if resume:
            _take_up(client, run, job)
        job.folder.begin(job.config, job.data.digest)
        return _run(job, run, observers)


def _open(
    client: MlflowClient, name: str, preset: str, settings: Sequence[str], resume: str | None, tags: Mapping[str, str]
) -> _Job:
    """From what was asked for to what a training needs: configuration, data, and a run that is begun or found."""
    app = apps.load(name)
    folder = _stopped(client, app.name, resume) if resume else None
    begun, digest = folder.begun() if folder else ({}, "")
    given = type(app.presets["default"]).parse(begun) if folder else app.config(preset, settings)
    app = app.with_score_for(given)
    say(f"{app.name}: {app.about}")
    show_config(app, given)
    data = prepared(app, given)
    for note in data.notes:
        say(f"note: {note}")
    if folder and data.digest != digest:
        raise UserError(
            f"{option('resume', resume)}: the prepared data are not those of that run (digest {data.digest[:12]}, "
            f"was {digest[:12]}); train a new run"
        )
    config = given if folder else budget.planned(app, preset, settings, given, data)
    say("\n".join(budget.told(given, config, data)))
    check_writable()
    return _Job(
        app, config, data, folder or JobFolder(tracking.start(client, app, config, data.digest, tags)), bool(folder)
    )


def _stopped(client: MlflowClient, app: str, reference: str) -> JobFolder:
    """The folder of an unfinished run."""

    def latest(run: tracking.Logged) -> bool:
        return run.status in UNFINISHED and JobFolder(run.id).resumable

    return JobFolder(tracking.find(client, app, reference, latest, runs_folder()).id)


def _take_up(client: MlflowClient, run: tracking.Run, job: _Job) -> None:
    """Repair a stopped run, and report where it differs from what it was."""
    model_registry.drop_unfinished(client, run.id)
    if run.resumed(job.app, job.config):
        say("note: the code is not the one that this run began with; the run is tagged (code.resumed)")


@dataclass(frozen=True)
class _Trained:
    """The result of a training: the model and its evaluation on the test split."""

    model: nn.Module
    fitted: Fitted
    report: Report
    baselines: Baselines


def _run(job: _Job, run: tracking.Run, observers: Sequence[Observer]) -> dict[str, Any]:
    app, config, data, folder = job.app, job.config, job.data, job.folder.path
    seed_everything(config.train.seed, verbose=False)
    model = app.network(config, data.facts)
    say(f"{_size(model):,} parameters; data {data.digest[:12]}; run {run.id}")
    if (why := native.missing()) is not None:
        say(f"note: no compiled kernels: {why}; recurrent layers take torch's or the loop over steps, and more time")
    with ProgressLine(app) as progress:
        told: list[Observer] = [run, progress, *observers]
        fitted = fit(
            app, config, data, model, folder, told, resume=job.resume,
            probe=in_training.gradient_probe(app, run), explain=in_training.verdict(app),
        )  # fmt: skip
    run.tag("backends", backends(model))
    with StopRequest() as stop:
        report = evaluate(app, model, stop.watch(data.test))
    # The model first: whatever comes after it, an application's own pictures too, may fail.
    save(folder / "model", app, config, data.facts, data.digest, model)
    run.model(folder / "model", app)
    report = replace(report, signature=signature(report, "test", data))
    trained = _Trained(model, fitted, report, measured(app, config, data))
    _keep(job, run, trained)
    _tell(app, run, trained)
    return _summary(app, run, trained)


def _keep(job: _Job, run: tracking.Run, trained: _Trained) -> None:
    """Log all results of the run to the tracking store."""
    app, fitted, report = job.app, trained.fitted, trained.report
    at = fitted.position
    run.report("test", report, at.step)
    costs = {"parameters": _size(trained.model), "train/total_seconds": at.seconds, **fitted.costs.metrics()}
    best = {} if fitted.best is None else {f"best/{app.score.name}": fitted.best, "best/epoch": fitted.best_epoch}
    simple = {f"baseline/{method}/{name}": v for method, row in trained.baselines.items() for name, v in row.items()}
    run.log({**costs, **best, **simple}, at.step)
    drawn: Mapping[str, Figure] = {}
    if app.figures:
        with as_written(), noted("pictures"):
            drawn = app.figures(trained.model.eval(), job.data.test, report)
    run.figures(drawn)


def _tell(app: App, run: tracking.Run, trained: _Trained) -> None:
    fitted, report, at = trained.fitted, trained.report, trained.fitted.position
    say(
        f"stopped after {at.epoch} epochs, {duration(at.seconds)} (limit: {fitted.stopped}); weights of epoch "
        f"{fitted.best_epoch}; {100 * fitted.costs.data_wait:.1f} % of the time spent waiting for data"
    )
    show_metrics("held-out test split", {"test": report.metrics, **trained.baselines})
    say(f"signature: {report.signature}")
    show_predictions(report.records[:3])
    say(f"next: {task('predict', app.name, run=run.id[:8])}")
    say(f"      {task('compare', app.name)}      {task('ui')}")
    say(f"kept: {places.told()}")
    if text := warning(app.score, report.metrics, trained.baselines):
        say(f"note: {text}")


def _summary(app: App, run: tracking.Run, trained: _Trained) -> dict[str, Any]:
    """For programs."""
    fitted, report = trained.fitted, trained.report
    return {
        "app": app.name,
        "run": run.id,
        "status": "FINISHED",
        "metrics": {f"test/{name}": value for name, value in report.metrics.items()},
        "signature": report.signature,
        "seconds": round(fitted.position.seconds, 2),
        "epochs": fitted.position.epoch,
        "steps": fitted.position.step,
        "best": fitted.best,
        "best_epoch": fitted.best_epoch,
        "parameters": _size(trained.model),
        "data_wait": round(fitted.costs.data_wait, 4),
        "unbeaten": list(unbeaten(app.score, report.metrics, trained.baselines)),
    }


def _size(model: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
