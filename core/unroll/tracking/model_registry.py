"""The models of runs, and the registry of named models."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from unroll.errors import UserError
from unroll.surface import option, task
from unroll.tracking import saved
from unroll.tracking.logged import Logged
from unroll.tracking.query import find
from unroll.tracking.store import store_errors

MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error code for a model that is not in the registry"""


def model_folder(client: MlflowClient, app: str, reference: str) -> Path:
    """The saved model of a run or of the registry, as a local folder. Raises UserError as `folder_and_run`."""
    return folder_and_run(client, app, reference)[0]


def folder_and_run(client: MlflowClient, app: str, reference: str) -> tuple[Path, str | None]:
    """(the saved model of a run (`latest`, an id) or of the registry (`models:/name@alias`) as a local folder, the id
    of the run; None where the registry names the model).

    Raises:
        UserError: there is no such run or model, or the run ended without one.
    """
    with store_errors():
        if reference.startswith("models:/"):
            return _registered(app, reference), None
    run = find(client, app, reference, lambda run: run.status == "FINISHED")
    return folder_of(client, run), run.id


def folder_of(client: MlflowClient, run: Logged) -> Path:
    """The model that a run ended with, as a local folder. Raises UserError when there is none."""
    with store_errors():
        return _downloaded(f"models:/{model_id(client, run)}")


def model_id(client: MlflowClient, run: Logged) -> str:
    """MLflow's id of the model that a run ended with. Raises UserError when there is none."""
    with store_errors():
        ready = [model for model in _models(client, run.id) if model.status == LoggedModelStatus.READY]
    if not ready:
        raise UserError(f"run {run.id[:8]} is {run.status} and holds no model; resume it, or name another")
    return str(max(ready, key=lambda model: model.creation_timestamp).model_id)


def drop_unfinished(client: MlflowClient, run: str) -> None:
    """Delete half-written models of a run that was killed: it is about to write another."""
    with store_errors():
        for model in _models(client, run):
            if model.status != LoggedModelStatus.READY:
                client.delete_logged_model(model.model_id)


def _models(client: MlflowClient, run: str) -> Iterator[LoggedModel]:
    """All models started in the run, linked to it or not, in no particular order."""
    experiment, token = client.get_run(run).info.experiment_id, None
    while True:
        page = client.search_logged_models([experiment], f"source_run_id = '{run}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def register(client: MlflowClient, name: str, run: Logged) -> str:
    """Register a run's model as `name`. Returns the number of its version."""
    model = model_id(client, run)
    with store_errors():
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return str(client.create_model_version(name, f"models:/{model}", run.id, model_id=model).version)


def _registered(app: str, reference: str) -> Path:
    try:
        return _downloaded(reference)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{option('run', reference)}: {reason}; register one: {task('promote', app, run='latest')}"
        ) from None


def _downloaded(uri: str) -> Path:
    [found] = saved.within(Path(mlflow.artifacts.download_artifacts(uri)))
    return found
