"""`invoke sweep`: searches settings on the validation score; unpromising trials are pruned."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL

from unroll import app as apps
from unroll import tracking
from unroll.app import App
from unroll.commands.training import train_one
from unroll.console import say, show_table
from unroll.errors import UsageError, UserError, typed
from unroll.interrupt import Interrupted
from unroll.places import is_database, runs_folder
from unroll.search.sweep import Space, TrialPruner, best, study
from unroll.training.progress import Pruned

SHOWN = 5
ERROR = "error"
"""attribute of a trial whose settings could not be trained"""


def sweep(
    name: str,
    preset: str | None,
    settings: Sequence[str],
    search: Sequence[str],
    *,
    trials: int = 20,
    study_name: str = "sweep",
) -> dict[str, Any]:
    """Try settings until the study of that name has `trials` of them: the same command resumes one that was
    stopped, and a larger number makes one longer.

    Args:
        name: application.
        preset, settings: that all trials share.
        search: spaces, see `unroll.search.sweep.Space`.
        trials: of the study, in all.
        study_name: of the study.

    Raises:
        UserError: a space or a setting is wrong.
    """
    if not search or trials < 1:
        raise UsageError("--search KEY=LOW..HIGH is missing" if not search else "--trials wants at least 1")
    spaces, client = [Space.parse(text) for text in search], tracking.connect()
    app = apps.load(name)
    app = app.with_score_for(app.config(preset or "default", settings))
    _check(app, preset or "default", settings, spaces)
    with tracking.store_errors():
        found = study(_storage(), f"{name}/{study_name}", app.score)
        parent = _parent(client, app, study_name, search)
    try:
        failed = 0
        while (number := _tried(found) + failed + 1) <= trials:
            trial = found.ask()
            chosen = [space.suggest(trial) for space in spaces]
            say(f"--- trial {number}/{trials}: {' '.join(chosen)}")
            failed += not _try(found, trial, app, preset, [*settings, *chosen], parent)
    except BaseException as error:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        with tracking.store_errors():
            client.set_terminated(parent, "KILLED" if stopped else "FAILED")
        if stopped:
            say(f"{_tried(found)} of {trials} trials are done; the same command resumes from here")
        raise
    return _outcome(client, found, app, parent)


def _check(app: App, preset: str, settings: Sequence[str], spaces: Sequence[Space]) -> None:
    """Raise an error for wrong keys and values before anything is trained."""
    for space in spaces:
        ends = space.choices or tuple(f"{int(end) if space.whole else end}" for end in (space.low, space.high))
        for value in ends:
            app.config(preset, [*settings, f"{space.key}={value}"])


def _storage() -> str:
    """The tracking store, if it is a database."""
    uri = tracking.uri()
    if is_database(uri):
        return uri
    runs_folder().mkdir(parents=True, exist_ok=True)
    path = runs_folder().absolute() / "sweeps.db"
    return URL.create("sqlite", database=str(path)).render_as_string()


def _parent(client: MlflowClient, app: App, name: str, search: Sequence[str]) -> str:
    """The parent run of the trials; that of an earlier sweep of this name, if there is one."""
    experiment = tracking.experiment(client, app.name)
    there = client.search_runs([experiment], f"tags.`{tracking.SWEEP}` = '{name}'")
    if there:
        id = str(there[0].info.run_id)
        client.update_run(id, status="RUNNING")
        return id
    tags = {tracking.SWEEP: name, "app": app.name, "search": " ".join(search)}
    return str(client.create_run(experiment, tags=tags, run_name=f"sweep {name}").info.run_id)


def _try(found: optuna.Study, trial: Trial, app: App, preset: str | None, settings: Sequence[str], parent: str) -> bool:
    """Train a trial; returns whether that succeeded."""
    tags = {"mlflow.parentRunId": parent, "trial": str(trial.number)}
    try:
        result = train_one(app.name, preset, settings, tags=tags, observers=[TrialPruner(trial, app.score)])
    except Pruned as reason:
        say(f"pruned: {reason}")
        found.tell(trial, state=TrialState.PRUNED)
    except UserError as error:
        say(f"error: {error}")
        trial.set_user_attr(ERROR, str(error))
        found.tell(trial, state=TrialState.FAIL)
        return False
    except BaseException:
        found.tell(trial, state=TrialState.FAIL)
        found.enqueue_trial(trial.params)  # is not counted, and is what is tried next
        raise
    else:
        trial.set_user_attr("run", result["run"])
        found.tell(trial, result["best"])
    return True


def _tried(found: optuna.Study) -> int:
    """Trials that need not be tried again."""
    return len(found.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))


def _outcome(client: MlflowClient, found: optuna.Study, app: App, parent: str) -> dict[str, Any]:
    good, score = best(found, SHOWN), f"val/{app.score.name}"
    counts = Counter(map(_state, found.trials))
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
    show_table("best trials", [{"trial": t.number, score: t.value, **t.params, "run": _run(t)[:8]} for t in good])
    with tracking.store_errors():
        if good:
            client.log_metric(parent, f"best/{app.score.name}".replace("@", ":"), good[0].value or 0.0)
            client.set_tag(parent, "best_run", _run(good[0]))
        client.set_terminated(parent, "FINISHED" if good else "FAILED")
    if good:
        settings = " ".join(f"--set {key}={value}" for key, value in good[0].params.items())
        say(f"chosen on the validation split, by one seed; next: {typed()} train --app {app.name} {settings} --seeds 5")
    return {
        "app": app.name, "run": parent, "status": "FINISHED" if good else "FAILED", "exit_code": int(not good),
        "study": found.study_name, "trials": dict(counts),
        "best": [{"trial": t.number, score: t.value, "settings": t.params, "run": _run(t)} for t in good],
    }  # fmt: skip


def _state(trial: FrozenTrial) -> str:
    stopped = trial.state == TrialState.FAIL and ERROR not in trial.user_attrs
    return "stopped" if stopped else trial.state.name.lower()


def _run(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("run", ""))
