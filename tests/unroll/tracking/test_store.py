"""Which tracking store is used and where it is, in folders of any name; what was deleted, and how to restore it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.db import utils as db_utils
from mlflow.tracking import MlflowClient
from sqlalchemy import create_engine, text

from tests.unroll.tracking.test_run import at, begin
from tests.unroll.training.toy import APP, save_untrained
from unroll import places, tracking
from unroll.app import Report
from unroll.commands.training import train_one
from unroll.errors import UserError
from unroll.tracking import model_registry, store

ODD = ["C# 50%41", "a?b=c&d", "100%", "%41%2F", "語 é", "file:x", "a b"]


# MLflow warns of the types in its own interface when its pyfunc is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def own_store(folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work in a folder that has a store, named by a relative path. MLflow keeps what it has opened by that name."""
    name = f"{folder.parent.name}.db"
    shutil.copy(empty, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{name}")
    return f"sqlite:///{name} ({folder}/{name})"


@pytest.fixture
def odd(request: Any, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of an odd name as the place to work in, with a store in it."""
    folder = tmp_path / request.param
    folder.mkdir()
    own_store(folder, empty_store, monkeypatch)
    monkeypatch.setenv("UNROLL_RUNS", "")
    return folder


@pytest.mark.parametrize("odd", ODD, indirect=True)
def test_a_folder_of_any_name_keeps_everything_in_it(odd: Path) -> None:
    client = tracking.connect()
    run = begin(client)
    run.report("test", Report({"mse": 0.5}, [{"id": "a", "score": 0.5}], "mse"), step=1)
    save_untrained(places.runs_folder() / run.id / "model")
    run.model(places.runs_folder() / run.id / "model", APP)
    assert client.get_run(run.id).info.status == "RUNNING", "its results are not written yet"
    run.finish("FINISHED")
    [logged] = tracking.runs(client, "toy")
    records = tracking.records(client, logged, "test")
    assert records is not None and records.is_relative_to(odd)
    assert tracking.records(client, logged, "val") is None
    assert model_registry.model_folder(client, "toy", run.id).is_relative_to(odd)
    assert [path.name for path in odd.parent.iterdir()] == [odd.name]


@pytest.mark.parametrize("odd", ODD[:2], indirect=True)
def test_sweeps_find_their_own_database_there(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unroll.commands.sweep import _storage
    from unroll.search.sweep import study

    monkeypatch.setattr(tracking, "uri", lambda: "http://a-server:5000")
    study(_storage(), "toy/sweep", APP.score)
    assert (odd / "runs" / "sweeps.db").is_file()


def test_set_but_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("UNROLL_RUNS", "")
    assert places.store_uri() == "sqlite:///mlflow.db" and places.runs_folder() == Path("runs")


def test_a_deleted_run_says_how_it_comes_back(client: MlflowClient) -> None:
    run, other = begin(client), begin(client)
    run.finish("FINISHED")
    other.finish("KILLED")
    client.delete_run(run.id)
    with pytest.raises(UserError) as caught:
        tracking.find(client, "toy", run.id[:8], lambda run: True)
    cure = f"restore it: mlflow runs restore --run-id {run.id}"
    assert str(caught.value).startswith(f"run {run.id[:8]}: was deleted; {cure}, of toy in sqlite:///")
    client.restore_run(run.id)
    assert tracking.find(client, "toy", run.id[:8], lambda run: True).id == run.id


def test_a_run_that_is_deleted_while_it_is_under_way_too(client: MlflowClient) -> None:
    run = begin(client)
    client.delete_run(run.id)
    run.log({"train/loss": 1.0}, at(1).step)
    with pytest.raises(UserError, match=rf"deleted\..*; restore it: mlflow runs restore --run-id {run.id}$"):
        run.flush()


def test_a_deleted_experiment_says_how_it_comes_back(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(client).finish("FINISHED")
    id = tracking.experiment(client, "toy")
    client.delete_experiment(id)
    cure = rf"the experiment toy was deleted; restore it: mlflow experiments restore --experiment-id {id}$"
    for call in (lambda: begin(client), lambda: tracking.runs(client, "toy")):
        with pytest.raises(UserError, match=cure):
            call()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match=r"restore it: MLFLOW_TRACKING_URI=sqlite:///.*mlflow\.db mlflow experiments "):
        tracking.runs(client, "toy")


def test_from_a_folder_below_the_line_says_where_it_looked(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path
) -> None:
    (below := tmp_path / "below").mkdir()
    store = own_store(below, empty_store, monkeypatch)
    monkeypatch.setattr("unroll.app.load", lambda name: APP)
    with pytest.raises(UserError) as caught:
        model_registry.model_folder(tracking.connect(), "toy", "latest")
    said = f"run latest: no such run, of toy in {store}"
    assert str(caught.value) == f"{said}; newest runs: none; train one first"
    monkeypatch.setenv("UNROLL_RUNS", "elsewhere")
    with pytest.raises(UserError) as caught:
        train_one("toy", resume="latest")
    assert str(caught.value) == f"{said}, checkpoints in {below}/elsewhere; newest runs: none; train one first"


def test_others_who_write_to_the_same_store_are_waited_for(client: Any) -> None:
    tracking.connect()  # a second time, of the same engine
    for of in (client._tracking_client, client._get_registry_client()):
        with of.store.ManagedSessionMaker() as session:
            assert session.execute(text("PRAGMA busy_timeout")).scalar() == 1000 * store.LOCK_SECONDS


def test_nobody_elses_database_is_touched(client: Any) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as theirs:
        theirs.execute(text("PRAGMA busy_timeout = 20000"))
        assert theirs.execute(text("PRAGMA busy_timeout")).scalar() == 20000
    engine.dispose()
    assert db_utils.MAX_RETRY_COUNT == 10


def test_importing_it_changes_nothing_of_mlflow() -> None:
    code = "import logging, unroll.tracking; print(logging.getLogger('mlflow.store.db.utils').level)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
