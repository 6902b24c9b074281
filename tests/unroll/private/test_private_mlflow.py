"""What `unroll.tracking` takes from MLflow that MLflow does not promise."""

import inspect
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.entities import Metric
from mlflow.store.db import utils as db_utils
from mlflow.store.tracking.dbmodels import models
from sqlalchemy import event
from sqlalchemy.engine import Engine

from unroll import tracking

NAMES = {
    "_tracking_client": "its store: the engine of a database, and many histories in one query",
    "_get_registry_client": "its store: the engine of the registry's database",
    "engine": "of both stores: where others who write to the same file are waited for",
    "get_metric_history_bulk": "the curves of a thousand runs in one query",
    "ManagedSessionMaker": "of a store that is a database: sessions that wait for others, as MLflow's own do",
    "SqlRun, SqlParam, SqlTag, SqlLatestMetric": "the tables that runs are read from: test_database compares them",
    "MAX_RETRY_COUNT": "how often a database that is not there is tried",
    "busy_timeout = 20000": "how long a writer is waited for: replaced in this very statement",
}


def stores(client: Any) -> list[Any]:
    return [client._tracking_client.store, client._get_registry_client().store]


def test_both_stores_of_a_database_have_an_engine(client: Any) -> None:
    assert all(isinstance(store.engine, Engine) for store in stores(client))


def test_the_timeout_is_set_by_this_statement(client: Any) -> None:
    for store in stores(client):
        said: list[str] = []
        event.listen(store.engine, "before_cursor_execute", lambda *given, said=said: said.append(given[2]))
        with store.ManagedSessionMaker():
            pass
        # Ours is heard first, and has put its own number there.
        assert [line for line in said if "busy_timeout" in line] == ["PRAGMA busy_timeout = 300000;"]
    assert "PRAGMA busy_timeout = 20000;" in inspect.getsource(db_utils)


def test_the_number_of_attempts_is_read_at_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(db_utils.MAX_RETRY_COUNT, int)
    waits: list[float] = []
    untyped: Any = db_utils
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(db_utils, "MAX_RETRY_COUNT", 3)
    with pytest.raises(Exception, match="unable to open database file"):
        untyped.create_sqlalchemy_engine_with_retry(f"sqlite:///{tmp_path}")  # a folder is no database
    assert len(waits) == 2


def test_the_tables_have_the_columns_that_are_read() -> None:
    for table, names in {
        models.SqlRun: {
            "run_uuid", "name", "status", "start_time", "end_time", "artifact_uri", "experiment_id", "lifecycle_stage",
        },
        models.SqlParam: {"run_uuid", "key", "value"},
        models.SqlTag: {"run_uuid", "key", "value"},
        models.SqlLatestMetric: {"run_uuid", "key", "value", "is_nan"},
    }.items():  # fmt: skip
        assert names <= set(sqlalchemy.inspect(table).columns.keys())


def test_many_histories_come_in_one_call(client: Any) -> None:
    experiment = client.create_experiment("histories")
    ids = [client.create_run(experiment).info.run_id for _ in range(2)]
    for number, id in enumerate(ids):
        client.log_batch(id, [Metric("loss", number + step / 10, 1000 + step, step) for step in (1, 2)])
    found = client._tracking_client.store.get_metric_history_bulk(ids, "loss", 10)
    assert sorted((ids.index(one.run_id), one.step, one.value) for one in found) == [
        (0, 1, 0.1), (0, 2, 0.2), (1, 1, 1.1), (1, 2, 1.2),
    ]  # fmt: skip
    logged = tracking.runs(client, "histories")
    assert tracking.curves(client, logged, "loss") == {ids[0]: {1: 0.1, 2: 0.2}, ids[1]: {1: 1.1, 2: 1.2}}
