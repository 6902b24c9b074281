"""The only task that opens a port."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.test_tasks import INVOKE


def as_mlflow(folder: Path, script: str) -> dict[str, str]:
    """An environment in which `mlflow` is this shell script."""
    program = folder / "mlflow"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_mlflow_listens_on_the_loopback_only_and_gets_the_store_as_one_word(tmp_path: Path) -> None:
    environment = as_mlflow(tmp_path, f'for word in "$@"; do echo "$word"; done > {tmp_path}/words')
    store = f"sqlite:///a b.db; touch {tmp_path}/harm"
    environment["MLFLOW_TRACKING_URI"] = store
    done = subprocess.run(
        [*INVOKE, "ui", "--port", "5001"], env=environment, check=True, capture_output=True, text=True
    )
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:7] == ["ui", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", "5001"]
    assert not (tmp_path / "harm").exists()
    assert done.stdout.startswith("open http://127.0.0.1:5001 ") and len(done.stdout.splitlines()) == 1
    assert not done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_ends_the_task_ends_the_server(number: signal.Signals, tmp_path: Path) -> None:
    """They are one process: there is no child that could be left behind."""
    environment = as_mlflow(tmp_path, "echo $$; exec sleep 600") | {"MLFLOW_TRACKING_URI": ""}
    words = [*INVOKE, "ui"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        address, server = process.stdout.readline(), process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == -number
    store = f"sqlite:///mlflow.db ({tmp_path}/mlflow.db)"
    assert address == f"open http://127.0.0.1:5000 (the runs in {store}; Ctrl-C ends it)\n"
    assert int(server) == process.pid


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"MLFLOW_TRACKING_URI": "http://me:secret@it:5000"},
            "error: MLFLOW_TRACKING_URI=http://me:***@it:5000: is a ",
        ),
        ({"PATH": "/nowhere"}, "error: mlflow: no such command here"),
    ],
)
def test_nothing_to_serve_is_one_line(environment: dict[str, str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*INVOKE, "ui"], env=os.environ | environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1 and done.stderr.startswith(said) and len(done.stderr.splitlines()) == 1
