"""Runs read from the tables of a database are those that MLflow's client gives."""

import math

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from unroll import tracking
from unroll.tracking import database, query


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    """Runs of every status, with numbers that databases cannot hold, one of them deleted; and another experiment's."""
    id = client.create_experiment("toy")
    numbers = {"loss": math.nan, "test/recall:20": 0.5, "best": math.inf, "worst": -math.inf}
    for number, status in enumerate(("FINISHED", "FAILED", "KILLED", "RUNNING", "FINISHED", "FINISHED")):
        run = client.create_run(id, start_time=1000 + 10 * (number // 2), tags={"app": "toy"}, run_name=f"run {number}")
        metrics = [Metric(key, value, 5, step) for key, value in numbers.items() for step in (1, 2)]
        tags = [RunTag(tracking.SWEEP, "sweep")] if number == 4 else []
        client.log_batch(run.info.run_id, metrics[number:], [Param("seed", str(number)), Param("empty", "")], tags)
        if status != "RUNNING":
            client.set_terminated(run.info.run_id, status, end_time=2500 + number)
    client.delete_run(client.search_runs([id], "params.seed = '5'")[0].info.run_id)
    client.create_run(client.create_experiment("other"))
    return str(id)


def test_runs_of_a_database_are_those_of_the_client(client: MlflowClient, experiment: str) -> None:
    wanted = [query._logged(run) for run in client.search_runs([experiment], order_by=["start_time DESC"])]
    assert len(wanted) == 5
    assert repr(database.all_runs(database.store_of(client), experiment)) == repr(wanted)
    assert {run.params["seed"] for run in wanted[-2:]} == {"0", "1"}, "the oldest last"


def test_the_client_is_not_asked_for_them(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes hundreds of objects of each run."""
    with monkeypatch.context() as server:
        server.setattr(query, "store_of", lambda client: None)
        by_client = tracking.runs(client, "toy")
    monkeypatch.setattr(MlflowClient, "search_runs", None)
    assert repr(tracking.runs(client, "toy")) == repr(by_client) and len(by_client) == 4
