"""Reads runs from the tables of MLflow's database, column by column, if the store is one.

Through the client, a run is a hundred SQLAlchemy objects and as many of MLflow's: for a thousand runs the garbage
collector took longer than everything else.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mlflow.entities import LifecycleStage
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag
from mlflow.tracking import MlflowClient
from sqlalchemy import select

from unroll.tracking.logged import Logged, as_logged, duration

CHUNK = 1000
"""rows held at a time"""


def store_of(client: MlflowClient) -> Any:
    """The store behind a client if it is a database; None if it is a server or a folder."""
    untyped: Any = client
    store = untyped._tracking_client.store
    return store if hasattr(store, "ManagedSessionMaker") else None


def all_runs(store: Any, experiment: str) -> list[Logged]:
    """The runs of an experiment that are not deleted, newest first, as MLflow's client returns them."""
    there: Any = (SqlRun.experiment_id == int(experiment)) & (SqlRun.lifecycle_stage == LifecycleStage.ACTIVE)
    of_run = (SqlRun.run_uuid, SqlRun.name, SqlRun.status, SqlRun.start_time, SqlRun.end_time, SqlRun.artifact_uri)
    newest = (SqlRun.start_time.desc(), SqlRun.run_uuid)
    with store.ManagedSessionMaker() as session:
        heads = [tuple(row) for row in _rows(session, select(*of_run).where(there).order_by(*newest))]
        params, tags = (_by_run(session, table, there, table.value) for table in (SqlParam, SqlTag))
        numbers = _by_run(session, SqlLatestMetric, there, SqlLatestMetric.value, SqlLatestMetric.is_nan)
    return [
        Logged(
            id, name, status, began / 1000, duration(began, ended), dict(params[id]),
            as_logged((key, math.nan if is_nan else value) for key, value, is_nan in numbers[id]),
            dict(tags[id]), artifacts,
        )
        for id, name, status, began, ended, artifacts in heads
    ]  # fmt: skip


def _by_run(session: Any, table: Any, there: Any, *values: Any) -> dict[str, list[Any]]:
    """run -> (key, values) of each row."""
    found = defaultdict(list)
    query = select(table.run_uuid, table.key, *values).join(SqlRun, SqlRun.run_uuid == table.run_uuid).where(there)
    for run, *row in _rows(session, query):
        found[run].append(tuple(row))
    return found


def _rows(session: Any, query: Any) -> Iterator[Any]:
    return iter(session.execute(query.execution_options(yield_per=CHUNK)))
