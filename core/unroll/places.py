"""Where things are kept, as the environment says.

A variable that is set but empty, as compose files pass it, is not set.
"""

import os
import re
from pathlib import Path

STORE = "MLFLOW_TRACKING_URI"
DEFAULT_STORE = "sqlite:///mlflow.db"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def store_uri() -> str:
    """Of the tracking store: the environment variable MLFLOW_TRACKING_URI, or `mlflow.db` in the working folder."""
    return os.environ.get(STORE) or DEFAULT_STORE


def shown(uri: str) -> str:
    """A store's URI for people: without its password, and with the file that a relative one means."""
    relative = re.fullmatch(r"sqlite:///([^/].*)", uri)
    if relative:
        return f"{uri} ({Path(relative[1]).absolute()})"
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def is_database(uri: str) -> bool:
    """Whether a store is one that this process itself writes to, and no server's."""
    return uri.split(":")[0].split("+")[0] in DATABASES


def runs_folder() -> Path:
    """Where checkpoints are kept: the environment variable UNROLL_RUNS, or `./runs`."""
    return Path(os.environ.get("UNROLL_RUNS") or "runs")
