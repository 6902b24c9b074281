"""The tracking store: which it is, that it can be reached, and what is said where it cannot."""

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
    """Around any call of MLflow: a store that cannot be reached or written to becomes one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        if lacking(error):
            raise
        if isinstance(error, OSError) and error.errno in NO_WRITING:
            # MLflow writes a file to a temporary folder first; an error that names no file is of that one.
            raise write_error(Path(error.filename or tempfile.gettempdir()), error) from error
        lines = str(error).strip().splitlines()
        # SQLAlchemy may begin with a remark on when it happened.
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
    """A client of the tracking store. From then on MLflow is silent, and waits for others who write to the same file.

    Raises:
        UserError: the store cannot be reached.
    """
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # It logs each error of the database with its traceback, and raises it as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # MLflow's own seven retries take minutes to say that a server is not there.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    if not os.environ.get(STORE):
        with writing(home()):
            home().mkdir(parents=True, exist_ok=True)  # SQLite makes a file, and no folder
    mlflow.set_tracking_uri(store_uri())
    with store_errors(), _few_retries():
        client = MlflowClient()
        for engine in _engines(client):
            if not event.contains(engine, "before_cursor_execute", _wait_longer):
                event.listen(engine, "before_cursor_execute", _wait_longer, retval=True)
        return client


@contextmanager
def _few_retries() -> Iterator[None]:
    """MLflow's ten attempts take two minutes to say that a database is not there; these take three seconds."""
    before, db_utils.MAX_RETRY_COUNT = db_utils.MAX_RETRY_COUNT, 5
    try:
        yield
    finally:
        db_utils.MAX_RETRY_COUNT = before


def _engines(client: MlflowClient) -> Iterator[Engine]:
    """That of the runs and that of the registered models, where the store is a database. A server keeps its own."""
    untyped: Any = client
    for store in (untyped._tracking_client.store, untyped._get_registry_client().store):
        engine: Engine | None = getattr(store, "engine", None)
        if engine is not None:
            yield engine


def _wait_longer(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """MLflow waits for twenty seconds while others write to the same SQLite file. Fifty others take longer."""
    return statement.replace("busy_timeout = 20000", f"busy_timeout = {1000 * LOCK_SECONDS}"), parameters


def uri() -> str:
    """The tracking store's."""
    return mlflow.get_tracking_uri()


def where() -> str:
    """The tracking store, for people."""
    return shown(uri())


def experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is made when it is missing.

    Two first runs at once may both try to make it: the second takes the first one's.

    Raises:
        UserError: it was deleted, but not for good.
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
    """An experiment, None where there is none. Raises UserError where it was deleted: says how it comes back."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == LifecycleStage.DELETED:
        cure = restoring("experiment", found.experiment_id)
        raise UserError(f"tracking store {where()}: the experiment {name} was deleted; {cure}")
    return found


def restoring(kind: str, id: str) -> str:
    """How a deleted experiment or run comes back."""
    store = "" if os.environ.get(STORE) else f"{STORE}={uri()} "
    return f"restore it: {store}mlflow {kind}s restore --{kind}-id {id}"


def _artifact_location(name: str) -> str | None:
    """None: MLflow's own choice, a server's or `mlruns` in the current folder. Where that is not the place, or where
    MLflow takes its path for a URL (`50%41`) and would write to another: the place as a URL.
    """
    if not is_database(uri()):
        return None
    folder = artifacts_folder().absolute()
    if folder == Path("mlruns").absolute() and unquote(str(folder)) == str(folder):
        return None
    return f"{folder.as_uri()}/{quote(name, safe='')}"
