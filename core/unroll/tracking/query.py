"""Reads runs from the store: all of an application, one by its name, their curves and records."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from unroll.errors import UserError
from unroll.tracking.database import all_runs, store_of
from unroll.tracking.logged import Logged, as_logged, duration
from unroll.tracking.names import RESUMED, SWEEP, local_folder, stored
from unroll.tracking.store import active_experiment, restoring, store_errors, where

PAGE = 500
"""page size: runs per request"""
MOST_POINTS = 10_000_000
"""of all curves together"""

Curve = dict[int, float]
"""step -> value"""


def runs(client: MlflowClient, app: str) -> list[Logged]:
    """The training runs of an application, newest first; empty if it never ran."""
    with store_errors():
        own = active_experiment(client, app)
        if own is None:
            return []
        if database := store_of(client):
            return [run for run in all_runs(database, own.experiment_id) if SWEEP not in run.tags]
        found: list[Logged] = []
        token: str | None = ""
        while token is not None:
            page = client.search_runs(
                [own.experiment_id], max_results=PAGE, order_by=["start_time DESC"], page_token=token or None
            )
            found += map(_logged, page)
            token = page.token or None
    return [run for run in found if SWEEP not in run.tags]


def made_by(run: Logged) -> set[str]:
    """Digests of the code that trained a run: the one that it started with, and any that it was resumed with."""
    return {run.tags.get("code.digest", ""), *run.tags.get(RESUMED, "").split()}


def records(client: MlflowClient, run: Logged, split: str) -> Path | None:
    """The records of a run's evaluation of `split` as a local file; None if it has none."""
    name, place = f"records/{split}.parquet", local_folder(run.artifacts)
    if place:
        return place / name if (place / name).is_file() else None
    with store_errors():
        if name not in [item.path for item in client.list_artifacts(run.id, "records")]:
            return None
        return Path(client.download_artifacts(run.id, name))


def figures(client: MlflowClient, run: Logged) -> dict[str, Path]:
    """The pictures of a run as local PNG files, by name."""
    folder = local_folder(run.artifacts)
    if folder is None:
        with store_errors():
            if "figures" not in [item.path for item in client.list_artifacts(run.id)]:
                return {}
            folder = Path(client.download_artifacts(run.id, "figures")).parent
    found = sorted((folder / "figures").rglob("*.png"))
    return {path.relative_to(folder / "figures").with_suffix("").as_posix(): path for path in found}


def anywhere(client: MlflowClient, apps: Sequence[str], reference: str) -> tuple[str, Logged]:
    """(application, run) of the run with this id, start of an id, or name, in any of the applications.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [(app, run) for app in apps for run in runs(client, app) if _called(run.id, run.name, reference)]
    if len(found) != 1:
        what = f"{len(found)} runs match" if found else "no such run of any application"
        raise UserError(f"run {reference}: {what}, in {where()}")
    return found[0]


def curves(client: MlflowClient, runs: Sequence[Logged], metric: str) -> dict[str, Curve]:
    """The whole history of a metric: run id -> curve. A single query for all runs if the store is a database."""
    ids = [run.id for run in runs if metric in run.metrics]
    found: dict[str, Curve] = {id: {} for id in ids}
    database = store_of(client)
    with store_errors():
        if database is None:
            return {id: {p.step: p.value for p in client.get_metric_history(id, stored(metric))} for id in ids}
        for first in range(0, len(ids), PAGE):
            for one in database.get_metric_history_bulk(ids[first : first + PAGE], stored(metric), MOST_POINTS):
                found[one.run_id][one.step] = one.value
    return found


def find(
    client: MlflowClient, app: str, reference: str, latest: Callable[[Logged], bool], checkpoints: Path | None = None
) -> Logged:
    """The run named by `latest`, an id, or the start of one.

    Args:
        app: name of the application.
        reference: what the user typed.
        latest: which runs count for `latest`.
        checkpoints: the folder where these keep their checkpoints, to name it in the error.

    Raises:
        UserError: there is none, or more than one. Says where it looked, and how to restore a deleted one.
    """
    candidates = runs(client, app)
    if reference == "latest":
        fitting = [run for run in candidates if latest(run)][:1]
    else:
        fitting = [run for run in candidates if _called(run.id, run.name, reference)]
    if len(fitting) != 1:
        known = ", ".join(f"{run.id[:8]} ({run.status})" for run in candidates[:5]) or "none; train one first"
        what = "more than one run matches" if fitting else _missing(client, app, reference)
        place = f"{where()}, checkpoints in {checkpoints.absolute()}" if checkpoints else where()
        raise UserError(f"run {reference}: {what}, of {app} in {place}; newest runs: {known}")
    return fitting[0]


def _called(id: str, name: str, reference: str) -> bool:
    """Whether the reference is the run's id, the start of its id, or its name."""
    return id.startswith(reference) or name == reference


def _missing(client: MlflowClient, app: str, reference: str) -> str:
    """Why a run is missing: it may have been deleted."""
    with store_errors():
        own = active_experiment(client, app)
        gone = client.search_runs([own.experiment_id], run_view_type=ViewType.DELETED_ONLY) if own else []
    for run in gone:
        if _called(run.info.run_id, run.info.run_name, reference):
            return f"was deleted; {restoring('run', run.info.run_id)}"
    return "no such run"


def _logged(run: MlflowRun) -> Logged:
    info, data = run.info, run.data
    return Logged(
        info.run_id, info.run_name, info.status, info.start_time / 1000, duration(info.start_time, info.end_time),
        dict(data.params), as_logged(data.metrics.items()), dict(data.tags), info.artifact_uri,
    )  # fmt: skip
