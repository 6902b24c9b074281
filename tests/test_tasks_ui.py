"""The one task that opens a port."""

import os
import stat
import subprocess
from pathlib import Path

from tests.test_tasks import INVOKE


def test_mlflow_listens_on_the_loopback_only_and_gets_the_store_as_one_word(tmp_path: Path) -> None:
    program = tmp_path / "mlflow"
    program.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done > {tmp_path}/words\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    store = f"sqlite:///a b.db; touch {tmp_path}/harm"
    environment = {"MLFLOW_TRACKING_URI": store, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([*INVOKE, "ui", "--port", "5001"], env=os.environ | environment, check=True)
    words = (tmp_path / "words").read_text().splitlines()
    assert words == ["ui", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", "5001"]
    assert not (tmp_path / "harm").exists()
