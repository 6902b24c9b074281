"""The tasks as typed by a user, each in a separate process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invoke import main

from tests.unroll.test_lazy import HEAVY

ROOT = Path(__file__).parent.parent
INVOKE = [sys.executable, "-m", "invoke", "--search-root", str(ROOT)]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a refused command: nothing else on the error stream, no traceback anywhere."""
        assert "Traceback" not in self.err + self.out
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object in the last line."""
        assert self.code == 0, self.err
        line: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return line


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """What `invoke WORDS` does, in this process: starting one for each costs ten seconds of imports."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["invoke", "--search-root", str(ROOT), *words])
        capsys.readouterr()
        try:
            main.program.run(sys.argv)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.mark.parametrize("words", [["--list"], ["train", "--help"], ["train"], ["train", "--app", "speach"]])
def test_answers_at_once_need_nothing_heavy(words: list[str]) -> None:
    """Not a timed test: what makes an answer slow is what it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", "--search-root", str(ROOT), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "invoke" in imported
    assert not imported & set(HEAVY)


def test_the_list_names_every_task_with_a_line(invoke: Callable[..., Done]) -> None:
    listed = invoke("--list").out
    for name in ("prepare", "train", "evaluate", "predict", "compare", "ui", "test", "lint"):
        assert f"\n  {name} " in listed


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("train", 2, "--app NAME is missing; NAME is one of:"),
        ("train --app speach", 1, "--app speach: no such application; did you mean speech?"),
        ("train --app speech,speach", 1, "--app speach: no such application"),
        ("train --app speech --preset smoak", 1, "--preset smoak: speech has no such preset; did you mean smoke"),
        ("train --app speech --set model.cel=gru", 1, "--set model.cel: unknown key; did you mean model.cell"),
        ("train --app speech --set train.epochs=x", 1, "train.epochs: Input should be a valid integer"),
        ("train --app speech --set train.epochs", 1, "write it as key=value"),
        ("train --app speech --resume x --set train.epochs=2", 2, "--resume uses the run's own"),
        ("prepare --app speech --set data.source=nowhere", 1, "data.source: Input should be"),
        ("evaluate --app speech,speech", 2, "this task takes one application"),
        ("evaluate --app speech --split tests", 1, "--split tests: no such split; known: train, val, test"),
    ],
)
def test_wrong_usage_is_one_line(invoke: Callable[..., Done], words: str, code: int, said: str) -> None:
    done = invoke(*words.split())
    assert said in done.error
    assert done.code == code


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> dict[str, str]:
    """Folders that the tests below share, in the order in which a user would come to them."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    return {
        "UNROLL_DATA": str(folder / "data"),
        "UNROLL_RUNS": str(folder / "runs"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
    }


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return line


@pytest.fixture
def at_work(workplace: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in workplace.items():
        monkeypatch.setenv(name, value)


def test_nothing_trained_yet(invoke: Callable[..., Done], at_work: None) -> None:
    store = os.environ["MLFLOW_TRACKING_URI"]
    said = f"run latest: no such run, of speech in {store}; newest runs: none; train one first"
    assert said in invoke("predict", "--app", "speech").error
    assert invoke("compare", "--app", "speech", "--json").result["runs"] == []


def test_train_evaluate_predict_and_compare(invoke: Callable[..., Done], at_work: None) -> None:
    trained = invoke("train", "--app", "speech", "--preset", "smoke", "--json")
    run = trained.result
    assert run["app"] == "speech" and run["status"] == "FINISHED"
    assert list(run["metrics"])[:2] == ["test/wer", "test/cer"]
    assert f"next: invoke predict --app speech --run {run['run'][:8]}" in trained.out
    assert trained.out.count("wanted") == 3
    assert "model.cell" in trained.out and "waiting for data" in trained.out

    again = invoke("evaluate", "--app", "speech", "--run", run["run"], "--json").result
    assert again["metrics"] == run["metrics"] and again["signature"] == run["signature"]

    outputs = invoke("predict", "--app", "speech", "--json").result["outputs"]
    assert outputs and all(isinstance(output, str) for output in outputs)
    missing = invoke("predict", "--app", "speech", "no-such.wav", "other.wav")
    assert "no-such.wav" in missing.error and missing.code == 1

    compared = invoke("compare", "--app", "speech", "--json").result
    assert [row["run"] for row in compared["runs"]] == [run["run"]]
    assert compared["runs"][0]["value"] == pytest.approx(run["metrics"]["test/wer"])
    unknown = invoke("compare", "--app", "speech", "--metric", "test/wert").error
    assert "--metric test/wert: no run of speech has it; did you mean test/wer" in unknown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_in_the_same_run(
    invoke: Callable[..., Done], workplace: dict[str, str], at_work: None, number: int,
    start: Callable[..., subprocess.Popen[str]],
) -> None:  # fmt: skip
    words = ["train", "--app", "speech", "--preset", "smoke", "--set", "train.epochs=3000", "--set", "train.minutes=60"]
    process = start([*INVOKE, *words], env={**os.environ, **workplace})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.strip() == "error: interrupted"
    [command] = [line for line in out.splitlines() if line.startswith("stopped; resume with: ")]
    id = command.rsplit(" ", 1)[1]

    from mlflow.tracking import MlflowClient

    client = MlflowClient(workplace["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("speech")
    assert experiment is not None
    [run] = [r for r in client.search_runs([experiment.experiment_id]) if r.info.run_id.startswith(id)]
    assert run.info.status == "KILLED"

    resumed = start([*INVOKE, *command.split("invoke ")[1].split()], env={**os.environ, **workplace})
    assert resumed.stdout is not None
    lines = []
    for line in resumed.stdout:
        lines.append(line)
        if line.startswith("epoch"):
            break
    second = invoke(*command.split("invoke ")[1].split())
    assert f"run {id}: another process is training it" in second.error
    resumed.send_signal(number)
    resumed.communicate(timeout=60)
    assert any(run.info.run_id in line for line in lines)
    assert int(lines[-1].split()[1].split("/")[0]) >= 2
    deadline = time.monotonic() + 10
    while client.get_run(run.info.run_id).info.status != "KILLED" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert client.get_run(run.info.run_id).info.status == "KILLED"
