"""A model with the data that it is diagnosed on: examined, its remedies tried, and the report kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from torch import nn

from unroll import tracking
from unroll.app import App, Data
from unroll.config import Config
from unroll.diagnosis.examination import Diagnosis, advice, outcomes, page, stream
from unroll.diagnosis.examination import diagnose as examine
from unroll.diagnosis.remedy_trials import Tried, attempt
from unroll.diagnosis.verdict import as_json
from unroll.drawing.page import Page
from unroll.errors import UsageError
from unroll.places import runs_folder
from unroll.surface import option
from unroll.training.health import replay as replayed

BATCHES = 4
"""of each split that are looked at"""
REMEDIES = 3
"""that are tried at most"""


@dataclass(frozen=True)
class Patient:
    """What a diagnosis is about."""

    app: App
    config: Config
    data: Data
    model: nn.Module
    trained: bool
    run: str | None
    """MLflow's id of the run that trained it, where there is one"""


def check_budget(steps: int, seeds: int) -> None:
    """Raise UsageError for trials of remedies that would be uninformative."""
    if steps < 1 or seeds < 2:
        raise UsageError(f"{option('steps')} wants at least 1, {option('seeds')} at least 2: an interval needs two")


def examined(patient: Patient, replay: str | None = None) -> Diagnosis:
    """The verdict on real batches; on one that a skipped step saved, with the weights of that moment."""
    app, model = patient.app, patient.model
    # The window of truncated BPTT is that of the training batches; what the loss needs shows on others.
    train, val = (list(islice(split, BATCHES)) for split in (patient.data.train, patient.data.val))
    if replay:
        return examine(app, patient.config, model, [replayed(Path(replay), model, train[0])])
    held_out = stream(app, model, val) if patient.trained else []
    return examine(app, patient.config, model, stream(app, model, train), held_out)


def try_remedies(
    patient: Patient,
    found: Diagnosis,
    prepared: Callable[[App, Config], Data],
    tell: Callable[[str], None],
    *,
    steps: int,
    seeds: int,
) -> Sequence[Tried]:
    """Train the model unchanged and with each of the first remedies; no trials if there is nothing to remedy.

    Args:
        patient, found: what was examined, and what was found.
        prepared: (application, config) -> its data.
        tell: is told what is tried, before it is.
        steps, seeds: the budget of each try.
    """
    tried = []
    for remedy in [None, *found.remedies[:REMEDIES]] if found.remedies else []:
        tell(f"trying {remedy.name if remedy else 'the model as it is'}: {seeds} seeds, {steps} steps each")
        data = partial(prepared, patient.app)
        tried.append(attempt(patient.app, patient.config, data, remedy, steps=steps, seeds=range(seeds)))
    return tried


def report(patient: Patient, found: Diagnosis) -> Page:
    """The diagnosis as a page that says what it is about."""
    kind = "a trained model" if patient.trained else "an untrained model"
    subject = f"run {patient.run[:8]}" if patient.run else kind
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return page(found, f"{subject} of {patient.app.name}, {when}, data {patient.data.digest[:12]}")


def keep(patient: Patient, made: Page) -> Path:
    """Write the report to a file, and log it to the run that it is about, or to a new run."""
    path = runs_folder() / (patient.run or f"fresh-{patient.app.name}") / "diagnosis.html"
    made.write(path)
    client = tracking.connect()
    with tracking.store_errors():
        id = patient.run or _fresh_run(client, patient)
        client.log_artifact(id, str(path), "diagnosis")
        if not patient.run:
            client.set_terminated(id, "FINISHED")
    return path


def plain(found: Diagnosis) -> dict[str, Any]:
    """The diagnosis as JSON-compatible values: the numbers of the worst network, and of each."""
    worst = as_json(found.finding)
    result: dict[str, Any] = {"verdict": found.finding.kind, **{k: v for k, v in worst.items() if k != "kind"}}
    result["networks"] = [as_json(finding) for finding in found.findings]
    result["remedies"] = [{"name": r.name, "reason": r.reason, "settings": list(r.settings)} for r in found.remedies]
    if found.tried:
        result["tried"] = outcomes(found.tried)
        result["advice"] = advice(found.tried)
    return result


def _fresh_run(client: MlflowClient, patient: Patient) -> str:
    """Diagnoses of untrained models have an experiment of their own, so that they are no candidates for `latest`."""
    experiment = tracking.experiment(client, f"{patient.app.name} diagnoses")
    return str(client.create_run(experiment, tags={"app": patient.app.name}).info.run_id)
