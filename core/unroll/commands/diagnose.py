"""`invoke diagnose`: the gradient through time of a model, in words, numbers and figures; and trials of remedies."""

import time
from collections.abc import Sequence
from typing import Any

from lightning.fabric import seed_everything

from unroll import app as apps
from unroll.commands.loading import prepared, trained_by
from unroll.console import number, say, show_table
from unroll.diagnosis.examination import Diagnosis, advice, outcomes
from unroll.diagnosis.patient import Patient, check_budget, examined, keep, plain, report, try_remedies
from unroll.diagnosis.remedy_trials import Tried
from unroll.errors import UsageError
from unroll.surface import task


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
    """The verdict on a run's model, or on an untrained one of a preset, on real batches.

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
    check_budget(steps, seeds)
    began = time.monotonic()
    patient = _patient(name, run, preset, settings)
    found = examined(patient, replay)
    _tell(patient, found)
    if fix:
        found.tried = _try(patient, found, steps, seeds)
    path = keep(patient, report(patient, found))
    say(f"report: {path}")
    return {
        "app": name, "run": patient.run, "status": "FINISHED", **plain(found), "report": str(path),
        "seconds": round(time.monotonic() - began, 2),
    }  # fmt: skip


def _patient(name: str, run: str | None, preset: str | None, settings: Sequence[str]) -> Patient:
    if run is None:
        return fresh(name, preset, settings)
    model, id = trained_by(name, run, settings)
    return Patient(model.app, model.config, prepared(model.app, model.config), model.model, trained=True, run=id)


def fresh(name: str, preset: str | None, settings: Sequence[str]) -> Patient:
    """An untrained model of a preset, with the data that it would be trained on."""
    app = apps.load(name)
    config = app.config(preset or "default", settings)
    data = prepared(app, config)
    seed_everything(config.train.seed, verbose=False)
    network = app.network(config, data.facts)
    return Patient(app.with_score_for(config), config, data, network, trained=False, run=None)


def _tell(patient: Patient, found: Diagnosis) -> None:
    for finding in found.findings:
        say(f"{finding.network}: {finding.kind}")
        for line in finding.because:
            say(f"  {line}")
    for need in found.needs.values():
        worth = f"without any memory the loss is {100 * need.worth:.1f} % higher"
        table = ", ".join(f"{lag}: {number(loss)}" for lag, loss in zip(need.lags, need.losses, strict=True))
        say(f"  {worth}; loss by steps of memory: {table}; all: {number(need.full)}")
    if not patient.trained:
        say(f"  this model is untrained; after training: {task('diagnose', patient.app.name, run='latest')}")
    if found.remedies:
        rows = [{"what may help, best first": r.name, "because": r.reason} for r in found.remedies]
        show_table("", rows)


def _try(patient: Patient, found: Diagnosis, steps: int, seeds: int) -> Sequence[Tried]:
    tried = try_remedies(patient, found, prepared, say, steps=steps, seeds=seeds)
    if not tried:
        say("nothing to cure")
        return []
    show_table(f"after {steps} steps, mean over {seeds} seeds (95 % interval)", outcomes(tried))
    say(advice(tried))
    return tried
