"""Models found by reading MLflow's SQLite file: those that MLflow gives; what is amiss is left to MLflow to say."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unroll.tracking.test_run import begin
from tests.unroll.training.toy import APP, save_untrained
from unroll import tracking
from unroll.places import HOME, STORE
from unroll.tracking import local_models, model_registry

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
Trained = Callable[..., str]


def train(client: Any, status: str = "FINISHED", models: int = 1) -> str:
    """A run of this status with this many models; its id."""
    run = begin(client)
    for _ in range(models):
        save_untrained(Path("model"))
        run.model(Path("model"), APP)
    run.finish(status)
    return run.id


@pytest.fixture
def trained(client: Any) -> Trained:
    return partial(train, client)


def test_every_reference_gives_the_model_that_mlflow_gives(client: Any, trained: Trained) -> None:
    old, new = trained(), trained(models=2)
    trained("KILLED")
    client.update_run(old, name="the first")
    for reference in (old, old[:12], "the first", new, new[:12], "latest"):
        found = local_models.model_folder("toy", reference)
        assert found is not None and found.samefile(model_registry.model_folder(client, "toy", reference)), reference
    assert local_models.model_folder("toy", "latest") == local_models.model_folder("toy", new)


@pytest.mark.parametrize("reference", ["latest", "0123", "models:/toy@champion", "", "'; DROP TABLE runs; --", "%"])
def test_what_is_not_there_is_left_to_mlflow(client: Any, trained: Trained, reference: str) -> None:
    assert local_models.model_folder("toy", reference) is None  # no experiment yet
    trained("KILLED"), trained("FINISHED", models=0)
    assert local_models.model_folder("toy", reference) is None


def test_of_several_that_are_meant_none_is_taken(client: Any, trained: Trained) -> None:
    for id in (trained(), trained()):
        client.update_run(id, name="same")
    assert local_models.model_folder("toy", "same") is None


def test_deleted_runs_and_experiments_and_parents_of_sweeps_are_not_taken(client: Any, trained: Trained) -> None:
    kept, deleted, parent = trained(), trained(), trained()
    client.delete_run(deleted)
    client.set_tag(parent, tracking.SWEEP, "true")
    assert local_models.model_folder("toy", deleted) is None and local_models.model_folder("toy", parent) is None
    assert local_models.model_folder("toy", "latest") == local_models.model_folder("toy", kept) is not None
    client.delete_experiment(client.get_experiment_by_name("toy").experiment_id)
    assert local_models.model_folder("toy", kept) is None


def test_a_model_that_was_not_written_to_the_end_is_not_taken(client: Any, trained: Trained) -> None:
    id = trained(models=0)
    client.create_logged_model(client.get_run(id).info.experiment_id, name="model", source_run_id=id)
    assert local_models.model_folder("toy", id) is None


def test_a_damaged_store_and_one_that_is_no_file_are_left_to_mlflow(
    client: Any, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = trained()
    monkeypatch.setenv(STORE, "http://127.0.0.1:9")
    assert local_models.model_folder("toy", id) is None
    (tmp_path / "other.db").write_bytes(b"SQLite format 3\0 but no more")
    monkeypatch.setenv(STORE, f"sqlite:///{tmp_path / 'other.db'}")
    assert local_models.model_folder("toy", id) is None


def test_a_folder_of_an_odd_name(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "C# 50%41?"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.setenv(HOME, str(folder))
    monkeypatch.chdir(folder)
    client = tracking.connect()
    id = train(client)
    found = local_models.model_folder("toy", "latest")
    assert found is not None and found.samefile(model_registry.model_folder(client, "toy", id))
