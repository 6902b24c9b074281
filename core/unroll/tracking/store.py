"""The tracking store: finding it, connecting to it, and what the user is told when that fails."""

import errno
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import mlflow
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as db_utils
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from unroll.data.files import DISK_FULL, write_error, writing
from unroll.errors import UserError
from unroll.machine import lacking
from unroll.places import STORE, artifacts_folder, home, is_database, shown, store_uri

LOCKED = "another process is writing to it: run again when it is done, or keep runs in PostgreSQL (docs/compare.md)"
LOCK_SECONDS = 300
DELETED = re.compile(r"The (run|experiment) (\S+) must be in the 'active' state")
NO_WRITING = (*DISK_FULL, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def store_errors() -> Iterator[None]:
    """Around any MLflow call: turns an error of a store that cannot be reached or written to into one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        if lacking(error):
            raise
        if isinstance(error, OSError) and error.errno in NO_WRITING:
            # MLflow writes a file to a temporary folder first; an error that names no file comes from there.
            raise write_error(Path(error.filename or tempfile.gettempdir()), error) from error
        lines = str(error).strip().splitlines()
        # SQLAlchemy may begin by saying when it happened.
        reason = next((line for line in lines if not line.startswith("(raised as a result of")), type(error).__name__)
        cure = "check MLFLOW_TRACKING_URI and the disk's free space"
        if deleted := DELETED.search(str(error)):
            cure = restoring(*deleted.groups())
        if "database is locked" in str(error):
            cure = LOCKED
        if isinstance(error, ModuleNotFoundError):
            cure = f"check MLFLOW_TRACKING_URI, or install the driver: pip install {error.name}[binary]"
        raise UserError(f"tracking store {where()}: {reason}; {cure}") from error


def connect() -> MlflowClient:
    """A client of the tracking store. After that MLflow is silent, and waits for other writers to the same file.

    Raises:
        UserError: the store cannot be reached.
    """
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # It logs each database error with its traceback, besides raising it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # With its own seven retries MLflow takes minutes to report that a server is not there.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    if not os.environ.get(STORE):
        with writing(home()):
            home().mkdir(parents=True, exist_ok=True)  # SQLite creates the file, but not its folder
    mlflow.set_tracking_uri(store_uri())
    with store_errors(), _few_retries():
        client = MlflowClient()
        for engine in _engines(client):
            if not event.contains(engine, "before_cursor_execute", _wait_longer):
                event.listen(engine, "before_cursor_execute", _wait_longer, retval=True)
        return client


@contextmanager
def _few_retries() -> Iterator[None]:
    """MLflow's ten attempts take two minutes to report that a database is not there; these take three seconds."""
    before, db_utils.MAX_RETRY_COUNT = db_utils.MAX_RETRY_COUNT, 5
    try:
        yield
    finally:
        db_utils.MAX_RETRY_COUNT = before


def _engines(client: MlflowClient) -> Iterator[Engine]:
    """The engines of the runs and of the registered models if the store is a database; a server has its own."""
    untyped: Any = client
    for store in (untyped._tracking_client.store, untyped._get_registry_client().store):
        engine: Engine | None = getattr(store, "engine", None)
        if engine is not None:
            yield engine


def _wait_longer(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """MLflow waits twenty seconds for other writers to the same SQLite file; fifty of them take longer."""
    return statement.replace("busy_timeout = 20000", f"busy_timeout = {1000 * LOCK_SECONDS}"), parameters


def uri() -> str:
    """The URI of the tracking store."""
    return mlflow.get_tracking_uri()


def where() -> str:
    """The tracking store, for people."""
    return shown(uri())


def experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is created if missing.

    If two first runs try to create it at once, the second uses the first one's.

    Raises:
        UserError: it was deleted, but not permanently.
    """
    found = active_experiment(client, name)
    if found is None:
        try:
            return str(client.create_experiment(name, _artifact_location(name)))
        except MlflowException:
            found = active_experiment(client, name)
            if found is None:
                raise
    return str(found.experiment_id)


def active_experiment(client: MlflowClient, name: str) -> Experiment | None:
    """An experiment, or None if there is none. Raises UserError if it was deleted, and says how to restore it."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == LifecycleStage.DELETED:
        cure = restoring("experiment", found.experiment_id)
        raise UserError(f"tracking store {where()}: the experiment {name} was deleted; {cure}")
    return found


def restoring(kind: str, id: str) -> str:
    """How to restore a deleted experiment or run."""
    store = "" if os.environ.get(STORE) else f"{STORE}={uri()} "
    return f"restore it: {store}mlflow {kind}s restore --{kind}-id {id}"


def _artifact_location(name: str) -> str | None:
    """None for MLflow's own choice: a server's, or `mlruns` in the current folder. If the files belong elsewhere, or
    MLflow would take the path for a URL (`50%41`) and write to another one: their folder as a URL.
    """
    if not is_database(uri()):
        return None
    folder = artifacts_folder().absolute()
    if folder == Path("mlruns").absolute() and unquote(str(folder)) == str(folder):
        return None
    return f"{folder.as_uri()}/{quote(name, safe='')}"
