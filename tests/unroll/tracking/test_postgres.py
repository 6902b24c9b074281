"""PostgreSQL as tracking store, on a server that the test starts: runs, curves, records, a study, and a comparison."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unroll.training.toy import APP
from unroll import tracking
from unroll.app import Mean, Report, Score
from unroll.comparison.groups import compare
from unroll.search.sweep import study
from unroll.tracking.store import _engines
from unroll.training.progress import Position


def binary(name: str) -> Path | None:
    """Debian keeps the server's programs off the path."""
    found = shutil.which(name)
    if found:
        return Path(found)
    return next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URI of an empty database. The server refuses to run as root, so that root runs it as somebody else."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install psycopg[binary]")
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("no PostgreSQL server here: apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="unroll-postgres-"))
    somebody: dict[str, Any] = {}
    if os.geteuid() == 0:
        name = next((n for n in ("postgres", "nobody") if n in {user.pw_name for user in pwd.getpwall()}), None)
        if name is None:
            pytest.skip("PostgreSQL does not run as root, and there is nobody else")
        os.chown(folder, pwd.getpwnam(name).pw_uid, -1)
        somebody = {"user": name, "cwd": folder, "env": {**os.environ, "HOME": str(folder)}}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    words = [initdb, "--pgdata", data, "--username", "unroll", "--auth", "trust", "--no-sync"]
    subprocess.run(words, check=True, capture_output=True, **somebody)
    words = [postgres, "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **somebody)
    try:
        _wait(port, process)
        yield f"postgresql://unroll:secret@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for the clients, of which we are one
        process.wait(60)
        shutil.rmtree(folder)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_everything_that_a_training_and_a_comparison_need(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    client = tracking.connect()
    assert ":***@" in tracking.where() and "secret" not in tracking.where()
    for hidden in (4, 8):
        for seed in range(3):
            config = APP.config(settings=[f"model.hidden={hidden}", f"train.seed={seed}"])
            run = tracking.Run(client, tracking.start(client, APP, config, "d" * 64), system_metrics=False)
            for step in range(1, 301):
                run.step(
                    Position(step, 1, 1, step / 300, 1.0), 1.0, {"train/loss": 1 / step, "train/nan": float("nan")}
                )
            scores = [seed / 10 + i / 100 + hidden for i in range(20)]
            rows = [{"id": str(i), "score": score} for i, score in enumerate(scores)]
            metrics, means = {"mse": sum(scores) / 20, "recall@20": 1.0}, {"mse": Mean("score")}
            run.report("test", Report(metrics, rows, "mse", means), 300)
            run.finish("FINISHED")
    runs = tracking.runs(client, "toy")
    assert len(runs) == 6 and {run.status for run in runs} == {"FINISHED"} and runs[0].metrics["test/recall@20"] == 1.0
    assert list(tracking.curves(client, runs, "train/loss")[runs[0].id]) == list(range(1, 301))
    files = {run.id: tracking.records(client, run, "test") for run in runs}
    found = compare("toy", runs, "test/mse", "min", files)
    assert [group.name for group in found.groups] == ["4", "8"] and "20 examples" in found.how
    studies = [study(tracking.uri(), "toy/s", Score("mse", "min")) for _ in range(2)]
    studies[0].ask().suggest_float("optimizer.lr", 0, 1)
    assert len(studies[1].trials) == 1
    # Connections that wait in a pool would be told of as leaks when the test ends.
    for engine in (*_engines(client), *(one._storage._backend.engine for one in studies)):
        engine.dispose()
