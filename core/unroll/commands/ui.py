"""`invoke ui`: MLflow's web interface to the tracking store."""

import os
from typing import NoReturn

from unroll.console import say
from unroll.errors import UserError
from unroll.places import STORE, shown, store_uri

QUIET = {
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # Nothing of ours is run by the server; its workers for that would outlive it.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def ui(port: int) -> NoReturn:
    """Replace this process by MLflow's server, on the loopback address only.

    Raises:
        UserError: MLflow's command is not there, or the store is a server, which has pages of its own.
    """
    store = store_uri()
    if store.startswith(("http://", "https://")):
        raise UserError(f"{STORE}={shown(store)}: is a server; open it in a browser")
    address = ["--host", "127.0.0.1", "--port", str(port)]
    # Two of its remarks are about options that are left out.
    said = ["--registry-store-uri", store, "--allowed-hosts", "localhost:*,127.0.0.1:*"]
    words = ["mlflow", "ui", "--backend-store-uri", store, *address, *said, "--uvicorn-opts", "--log-level warning"]
    say(f"open http://127.0.0.1:{port} (the runs in {shown(store)}; Ctrl-C ends it)")
    try:
        os.execvpe(words[0], words, {**os.environ, **QUIET})
    except FileNotFoundError:
        raise UserError("mlflow: no such command here; activate the environment that it is installed in") from None
