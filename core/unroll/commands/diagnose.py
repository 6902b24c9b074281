"""`invoke diagnose`: the gradient through time of a model, in words, numbers and pictures; and its cure, tried."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.fabric import seed_everything
from mlflow.tracking import MlflowClient
from torch import nn

from unroll import app as apps
from unroll import tracking
from unroll.app import App, Data
from unroll.commands.loading import prepared, trained
from unroll.config import Config
from unroll.console import number, say, show_table
from unroll.diagnosis.examination import Diagnosis, advice, outcomes, page, stream
from unroll.diagnosis.examination import diagnose as examine
from unroll.diagnosis.remedy_trials import attempt
from unroll.diagnosis.verdict import as_json
from unroll.drawing.page import Page
from unroll.errors import UsageError
from unroll.places import runs_folder
from unroll.training.health import replay as replayed

BATCHES = 4
"""of each split that are looked at"""
REMEDIES = 3
"""that --fix tries"""


@dataclass
class _Patient:
    app: App
    config: Config
    data: Data
    model: nn.Module
    run: str | None
    """MLflow's id of the run that trained it; None for a fresh model"""


def diagnose(
    name: str,
    run: str | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
    *,
    fix: bool = False,
    steps: int = 200,
    seeds: int = 5,
    replay: str | None = None,
) -> dict[str, Any]:
    """The verdict on a run's model, or on a fresh one of a preset, on real batches.

    Args:
        name: application.
        run: `latest`, an id, or models:/name@alias; None for a fresh model.
        preset, settings: of the fresh model; `settings` also of a run, where they leave the weights as they are.
        fix: try the first remedies.
        steps, seeds: the budget of each try.
        replay: a batch that a skipped step saved; it is looked at with the weights of that moment.

    Returns:
        verdict, growth, reach, ... of the worst network, "networks", "remedies", "tried", and the report's path.
    """
    if run and preset:
        raise UsageError("--run has its own preset; leave --preset out")
    if steps < 1 or seeds < 2:
        raise UsageError("--steps wants at least 1, --seeds at least 2: an interval needs two")
    began = time.monotonic()
    patient = _patient(name, run, preset, settings)
    found = _examined(patient, replay)
    _tell(found, trained=bool(run))
    if fix:
        found.tried = _try(patient, found, steps, seeds)
    subject = f"run {patient.run[:8]}" if patient.run else "an untrained model"
    made = page(found, f"{subject} of {name}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, data {patient.data.digest[:12]}")
    path = _keep(patient, made)
    say(f"report: {path}")
    return {
        "app": name, "run": patient.run, "status": "FINISHED", **_plain(found), "report": str(path),
        "seconds": round(time.monotonic() - began, 2),
    }  # fmt: skip


def _patient(name: str, run: str | None, preset: str | None, settings: Sequence[str]) -> _Patient:
    if run is None:
        app = apps.load(name)
        config = app.config(preset or "default", settings)
        data = prepared(app, config)
        seed_everything(config.train.seed, verbose=False)
        return _Patient(app.with_score_for(config), config, data, app.network(config, data.facts), None)
    model = trained(name, [run], settings)
    id = None if run.startswith("models:/") else _id(tracking.connect(), name, run)
    return _Patient(model.app, model.config, prepared(model.app, model.config), model.model, id)


def _id(client: MlflowClient, name: str, run: str) -> str:
    return tracking.find(client, name, run, lambda logged: logged.status == "FINISHED").id


def _examined(patient: _Patient, replay: str | None) -> Diagnosis:
    app, model = patient.app, patient.model
    # The window of truncated BPTT is that of the training batches; what the loss needs shows on others.
    train, val = (list(islice(split, BATCHES)) for split in (patient.data.train, patient.data.val))
    if replay:
        return examine(app, patient.config, model, [replayed(Path(replay), model, train[0])])
    held_out = stream(app, model, val) if patient.run else []
    return examine(app, patient.config, model, stream(app, model, train), held_out)


def _tell(found: Diagnosis, trained: bool) -> None:
    for finding in found.findings:
        say(f"{finding.network}: {finding.kind}")
        for line in finding.because:
            say(f"  {line}")
    for need in found.needs.values():
        worth = f"without any memory the loss is {100 * need.worth:.1f} % higher"
        table = ", ".join(f"{lag}: {number(loss)}" for lag, loss in zip(need.lags, need.losses, strict=True))
        say(f"  {worth}; loss by steps of memory: {table}; all: {number(need.full)}")
    if not trained:
        say("  this model is untrained; after training: invoke diagnose --run latest")
    if found.remedies:
        rows = [{"what may help, best first": r.name, "because": r.reason} for r in found.remedies]
        show_table("", rows)


def _try(patient: _Patient, found: Diagnosis, steps: int, seeds: int) -> list[Any]:
    if not found.remedies:
        say("nothing to cure")
        return []
    app, config = patient.app, patient.config
    tried = []
    for remedy in [None, *found.remedies[:REMEDIES]]:
        what = remedy.name if remedy else "the model as it is"
        say(f"trying {what}: {seeds} seeds, {steps} steps each")
        tried.append(attempt(app, config, partial(prepared, app), remedy, steps=steps, seeds=range(seeds)))
    show_table(f"after {steps} steps, mean over {seeds} seeds (95 % interval)", outcomes(tried))
    say(advice(tried))
    return tried


def _plain(found: Diagnosis) -> dict[str, Any]:
    worst = as_json(found.finding)
    result: dict[str, Any] = {"verdict": found.finding.kind, **{k: v for k, v in worst.items() if k != "kind"}}
    result["networks"] = [as_json(finding) for finding in found.findings]
    result["remedies"] = [{"name": r.name, "reason": r.reason, "settings": list(r.settings)} for r in found.remedies]
    if found.tried:
        result["tried"] = outcomes(found.tried)
        result["advice"] = advice(found.tried)
    return result


def _keep(patient: _Patient, made: Page) -> Path:
    """The report as a file, and with the run it is about, or with one of its own, in the tracking store."""
    path = runs_folder() / (patient.run or f"fresh-{patient.app.name}") / "diagnosis.html"
    made.write(path)
    client = tracking.connect()
    with tracking.store_errors():
        id = patient.run or _fresh_run(client, patient)
        client.log_artifact(id, str(path), "diagnosis")
        if not patient.run:
            client.set_terminated(id, "FINISHED")
    return path


def _fresh_run(client: MlflowClient, patient: _Patient) -> str:
    """Diagnoses of untrained models have an experiment of their own, so that they are no candidates for `latest`."""
    name = f"{patient.app.name} diagnoses"
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    return str(client.create_run(experiment, tags={"app": patient.app.name}).info.run_id)
