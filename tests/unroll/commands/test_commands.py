"""What all commands have in common, and small commands."""

import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tests.unroll.training.toy import APP
from unroll import tracking
from unroll.commands import job, run
from unroll.commands import memory as module
from unroll.recurrence.memory_tasks import Measured
from unroll.training.progress import Pruned


def test_a_command_leaves_the_handler_of_sigterm_as_it_was() -> None:
    before, within = signal.getsignal(signal.SIGTERM), []
    run(lambda: within.append(signal.getsignal(signal.SIGTERM)) or {"status": "FINISHED"})
    assert signal.getsignal(signal.SIGTERM) is before
    assert within[0] is not before


def test_the_reach_of_each_cell_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(cell: str, task: str, **options: Any) -> Measured:
        solved = {"lstm": (1.0, 1.0), "elman": (1.0, 0.5)}[cell]
        return Measured(cell, task, (2, 4), solved, 0.1)

    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path))
    monkeypatch.setattr(module, "measure", measure)
    found = module.memory("elman,lstm", "copy,parity", longest=4)
    assert found["reach"] == {"elman": {"copy": 2, "parity": 2}, "lstm": {"copy": 4, "parity": 4}}


@pytest.mark.parametrize(
    ("error", "status"),
    [(Pruned("epoch 1"), "KILLED"), (KeyboardInterrupt(), "KILLED"), (ValueError("oh"), "FAILED")],
    ids=["pruned", "interrupted", "failed"],
)
def test_a_run_tells_how_it_ended(
    error: BaseException, status: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tracking.Run
    monkeypatch.setattr(tracking, "Run", lambda client, id: made(client, id, system_metrics=False))
    id = client.create_run(client.create_experiment("toy")).info.run_id
    with pytest.raises(type(error)), job.outcome(APP, client, id):
        raise error
    assert client.get_run(id).info.status == status
