"""The tasks for notebooks and programs: `unroll.train`, `load`, `compare` and `diagnose`.

They do what the command-line tasks do, on the same store, and return values instead of printing them. Settings are
mappings, `{"model.cell": "gru", "train.epochs": 5}`. Errors that the user can fix are `UserError`s.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from unroll import app as apps
from unroll import tracking
from unroll.api_values import Diagnosed, Model, Run, Runs, run_of
from unroll.commands.diagnose import fresh
from unroll.commands.loading import prepared
from unroll.comparison.frame import ComparisonFrame, frame
from unroll.comparison.question import Question, ask_all
from unroll.console import say, silent
from unroll.diagnosis.patient import Patient, check_budget, examined, keep, plain, report, try_remedies
from unroll.errors import Notice, UsageError, UserError
from unroll.surface import in_python
from unroll.tracking import Logged, model_registry, saved

__all__ = ["compare", "diagnose", "load", "train"]

Settings = Mapping[str, Any]
REGISTRY = "models:/"
PLAIN = re.compile(r"[^\W\d][\w./:+@~-]*|[./~][\w./:+@~-]*")
"""a text that needs no quotes in a setting: it is not JSON, and has no comma"""


@in_python()
def train(
    app: str | Sequence[str],
    preset: str | None = None,
    settings: Settings | None = None,
    *,
    seeds: int = 0,
    jobs: int = 1,
    resume: str | Run | None = None,
    quiet: bool = False,
) -> Runs:
    """Prepare, train, evaluate and track, as `invoke train` does. Finished runs are not trained again.

    Args:
        app: application, or several.
        preset: name of published settings.
        settings: by their full keys. A list means one run per value; a tuple is a single value.
        seeds: runs per setting, counting up from train.seed; 0: one.
        jobs: runs of a grid to train in parallel.
        resume: an interrupted run: "latest" or an id.
        quiet: print nothing.

    Returns:
        One run per training, in grid order; failed ones have an `error`, and a Notice reports them.

    Raises:
        UserError: an unknown name, key or value, data that cannot be read; or the only training failed.
    """
    from unroll.commands.train import train as trained

    names = [app] if isinstance(app, str) else list(app)
    for name in names:
        apps.check(name)
    reference = resume.id if isinstance(resume, Run) else resume
    with _at_work(quiet):
        result = trained(names, preset, _typed(settings, several=True), reference, seeds=seeds, jobs=jobs)
    rows = result.get("runs", [result])
    failed = [row for row in rows if "error" in row]
    if failed:
        text = f"{len(failed)} of {len(rows)} runs failed: {failed[0]['error']}"
        warnings.warn(text, Notice, stacklevel=2)
    logged = {name: {run.id: run for run in tracking.runs(tracking.connect(), name)} for name in names}
    return Runs(_run(row, logged[row["app"]]) for row in rows)


@in_python()
def load(model: str | Path | Run | Sequence[str | Run], settings: Settings | None = None) -> Model:
    """A trained model.

    Args:
        model: an application ("speech": its latest run), a run or its id, "models:/speech@champion", or a folder that
            holds a saved model. Several runs of one application form an ensemble, if the application supports it.
        settings: changes that do not affect the weights: `{"decode.beam": 8}`.

    Raises:
        UserError: there is no such model, it is damaged, or the settings do not fit it.
    """
    if isinstance(model, str | Path | Run):
        return _loaded(model, _typed(settings))
    first, *others = (_loaded(one, _typed(settings)) for one in model)
    if not others:
        return first
    joined = saved.ensemble([first.saved, *(other.saved for other in others)])
    return Model(joined, ", ".join([first.reference, *(other.reference for other in others)]))


@in_python()
def compare(
    app: str | Sequence[str],
    by: str | Sequence[str] = (),
    *,
    metric: str | None = None,
    baseline: str | None = None,
    where: Settings | None = None,
    equal: str | None = None,
    confounded: bool = False,
) -> ComparisonFrame:
    """Groups of runs side by side, with intervals, tests and costs, as `invoke compare` shows them.

    Args:
        app: application, or several, whose p-values are then corrected together.
        by: settings to group by, such as "model.cell"; none: all that differ.
        metric: "split/name"; None: the score on the test split.
        baseline: value of the group to compare the others with; None: the default preset's.
        where: only runs with these settings.
        equal: "parameters" or "seconds", to compare at equal cost.
        confounded: whether groups may also differ in epochs, minutes and precision.

    Returns:
        A data frame with a row per group; in a notebook it is shown as a table with notes.

    Raises:
        UserError: an unknown metric, key or value, or groups that cannot be compared.
    """
    names = [app] if isinstance(app, str) else list(app)
    keys = tuple(key.strip() for key in by.split(",")) if isinstance(by, str) else tuple(by)
    conditions = tuple(f"{key}={value}" for key, value in (where or {}).items())
    question = Question(metric, keys, baseline, conditions, equal, confounded)
    return frame(ask_all(tracking.connect(), names, question), equal)


@in_python()
def diagnose(
    model: Model | Run | str | Path,
    preset: str | None = None,
    settings: Settings | None = None,
    *,
    fix: bool = False,
    steps: int = 200,
    seeds: int = 5,
    quiet: bool = True,
) -> Diagnosed:
    """The gradient through time of a model, as `invoke diagnose` shows it.

    Args:
        model: a trained model, or what `load` takes; an application's name with a preset or settings: an untrained one.
        preset, settings: of the untrained model.
        fix: try the top remedies.
        steps, seeds: the budget of each trial.
        quiet: do not print progress.

    Raises:
        UserError: no such model, or its loss depends on no recurrent network.
    """
    check_budget(steps, seeds)
    with _at_work(quiet):
        patient = _patient(model, preset, settings)
        found = examined(patient)
        if fix:
            found.tried = try_remedies(patient, found, prepared, say, steps=steps, seeds=seeds)
        path = keep(patient, report(patient, found))
    return Diagnosed(found.finding.kind, tuple(found.finding.because), plain(found), path)


@contextmanager
def _at_work(quiet: bool) -> Iterator[None]:
    """Silences library warnings, which are meant for us as the caller; a Notice is for the user."""
    with silent(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Notice)
        yield


def _patient(model: Model | Run | str | Path, preset: str | None, settings: Settings | None) -> Patient:
    if preset is not None or settings is not None:
        if not isinstance(model, str):
            raise UsageError("preset and settings need an untrained model; give the name of its application")
        return fresh(model, preset, _typed(settings))
    loaded = model if isinstance(model, Model) else load(model)
    one = loaded.saved
    return Patient(one.app, one.config, prepared(one.app, one.config), one.model, trained=True, run=loaded.run)


def _run(row: Mapping[str, Any], logged: Mapping[str, Logged]) -> Run:
    """The run of a training; one that never started is not in the store."""
    error = str(row.get("error", ""))
    if row.get("run") in logged:
        return run_of(row["app"], logged[row["run"]], error)
    return Run(row["app"], "", row["status"], {}, dict(_pairs(row.get("settings", ()))), error=error)


def _pairs(settings: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (setting.partition("=") for setting in settings)]


def _loaded(model: str | Path | Run, settings: Sequence[str]) -> Model:
    client = tracking.connect()
    if isinstance(model, Run):
        if model.logged is None:
            raise UserError(f"that training of {model.app} did not start: {model.error}")
        return _of_run(client, model.logged, settings)
    text = str(model)
    if isinstance(model, str) and model.startswith(REGISTRY):
        app = model.removeprefix(REGISTRY).partition("@")[0].partition("/")[0]
        return Model(saved.load(model_registry.model_folder(client, app, model), settings), model)
    if isinstance(model, str) and model in apps.names():
        latest = tracking.find(client, model, "latest", lambda run: run.status == "FINISHED")
        return _of_run(client, latest, settings)
    if isinstance(model, Path) or Path(model, saved.DESCRIPTION).is_file():
        return Model(saved.load(Path(model), settings), text)
    _, run = tracking.anywhere(client, apps.names(), model)
    return _of_run(client, run, settings)


def _of_run(client: MlflowClient, run: Logged, settings: Sequence[str]) -> Model:
    return Model(saved.load(model_registry.folder_of(client, run), settings), f"run {run.id[:8]}", run.id)


def _typed(settings: Settings | None, several: bool = False) -> list[str]:
    """The settings as typed on the command line, `key=value`; with `several`, a list is several values."""
    return [
        f"{key}={','.join(map(_text, value)) if several and isinstance(value, list) else _text(value)}"
        for key, value in (settings or {}).items()
    ]


def _text(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and PLAIN.fullmatch(value) and value not in ("true", "false", "null"):
        return value
    try:
        return json.dumps(value.item() if hasattr(value, "item") else value, ensure_ascii=False)
    except TypeError:
        raise UserError(f"settings: {value!r} cannot be a setting; give a number, text, boolean or tuple") from None
