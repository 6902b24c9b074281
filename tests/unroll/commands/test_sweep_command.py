"""`invoke sweep`: how many trials there are, what becomes of those that fail, and what is said in the end."""

from collections.abc import Sequence
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from tests.unroll.training.toy import APP
from unroll import app as apps
from unroll import tracking
from unroll.commands import sweep as module
from unroll.commands.sweep import sweep
from unroll.errors import UsageError, UserError
from unroll.interrupt import Interrupted
from unroll.training.progress import Pruned

SEARCH = ["optimizer.lr=0.001..0.1:log", "model.hidden=4..8"]


class Trains:
    """In place of trainings: the number of hidden units is the score, unless the number of the call says otherwise."""

    def __init__(self) -> None:
        self.settings: list[list[str]] = []
        self.tags: list[Any] = []
        self.errors: dict[int, BaseException] = {}

    def __call__(self, name: str, preset: Any, settings: Sequence[str], *, tags: Any, observers: Any) -> dict[str, Any]:
        self.settings.append(list(settings))
        self.tags.append(tags)
        assert name == "toy" and len(observers) == 1
        number = len(self.settings)
        if number in self.errors:
            raise self.errors[number]
        return {"run": f"{number:032d}", "best": float(settings[-1].partition("=")[2])}


@pytest.fixture
def trains(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Trains:
    trains = Trains()
    monkeypatch.setattr(module, "train_one", trains)
    monkeypatch.setattr(apps, "load", lambda name: APP)
    return trains


def run(trials: int = 3, **options: Any) -> dict[str, Any]:
    return sweep("toy", None, ["train.epochs=2"], SEARCH, trials=trials, **options)


def parent(client: MlflowClient, done: dict[str, Any]) -> Any:
    return client.get_run(done["run"])


def test_the_best_trials_come_first_and_stand_in_the_parent(trains: Trains, client: MlflowClient, capsys: Any) -> None:
    done = run(7)
    values = [float(settings[-1].partition("=")[2]) for settings in trains.settings]
    assert done["trials"] == {"complete": 7} and (done["status"], done["exit_code"]) == ("FINISHED", 0)
    assert [one["val/mse"] for one in done["best"]] == sorted(values)[: module.SHOWN]
    first = done["best"][0]
    assert first["run"] == f"{first['trial'] + 1:032d}" and set(first["settings"]) == {"optimizer.lr", "model.hidden"}
    assert [tags["trial"] for tags in trains.tags] == [str(number) for number in range(7)]
    assert {tags["mlflow.parentRunId"] for tags in trains.tags} == {done["run"]}
    assert all(settings[0] == "train.epochs=2" and len(settings) == 3 for settings in trains.settings)
    kept = parent(client, done)
    assert kept.data.metrics == {"best/mse": min(values)} and kept.data.tags["best_run"] == first["run"]
    assert kept.info.status == "FINISHED" and kept.data.tags["search"] == " ".join(SEARCH)
    said = capsys.readouterr().out
    assert "--- trial 1/7: optimizer.lr=" in said and "--- trial 7/7: " in said and "7 complete" in said
    assert f"--set model.hidden={first['settings']['model.hidden']} --seeds 5" in said


def test_the_same_command_goes_on_and_a_larger_number_makes_it_longer(trains: Trains) -> None:
    first = run(2)
    assert len(trains.settings) == 2
    again = run(2)
    assert len(trains.settings) == 2 and again["run"] == first["run"]
    assert run(3)["trials"] == {"complete": 3} and len(trains.settings) == 3
    assert run(1, study_name="another")["run"] != first["run"] and len(trains.settings) == 4


def test_settings_that_cannot_be_trained_are_a_trial_that_failed(trains: Trains, capsys: Any) -> None:
    trains.errors = {2: UserError("too large"), 3: Pruned("epoch 1: worse")}
    done = run(4)
    assert done["trials"] == {"complete": 2, "fail": 1, "pruned": 1} and len(trains.settings) == 4
    said = capsys.readouterr().out
    assert "error: too large" in said and "pruned: epoch 1: worse" in said


def test_where_all_fail_the_sweep_has(trains: Trains, client: MlflowClient) -> None:
    trains.errors = {1: UserError("no"), 2: UserError("no")}
    done = run(2)
    assert (done["status"], done["exit_code"], done["best"]) == ("FAILED", 1, [])
    assert parent(client, done).info.status == "FAILED" and parent(client, done).data.metrics == {}


@pytest.mark.parametrize(
    ("error", "status"), [(Interrupted(15), "KILLED"), (KeyboardInterrupt(), "KILLED"), (ValueError("oh"), "FAILED")]
)
def test_a_trial_that_was_stopped_is_tried_again(
    error: BaseException, status: str, trains: Trains, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    trains.errors = {2: error}
    with pytest.raises(type(error)):
        run(3)
    [kept] = client.search_runs([tracking.experiment(client, "toy")])
    assert kept.info.status == status
    assert ("1 of 3 trials are done; the same command resumes from here" in capsys.readouterr().out) == (
        status == "KILLED"
    )
    done = run(3)
    assert done["run"] == kept.info.run_id and done["trials"] == {"complete": 3, "stopped": 1}
    assert len(trains.settings) == 4 and trains.settings[2] == trains.settings[1]


@pytest.mark.parametrize(
    ("search", "trials", "error", "said"),
    [
        ([], 3, UsageError, "--search KEY=LOW..HIGH is missing"),
        (SEARCH, 0, UsageError, "--trials wants at least 1"),
        (["model.hiden=4..8"], 3, UserError, "unknown key; did you mean model.hidden"),
        (["model.hidden=0..8"], 3, UserError, "model.hidden: "),
        (["train.epochs=1..2", "optimizer.clip=-1.0..1"], 3, UserError, "optimizer.clip: "),
        (["optimizer.name=sgd,none"], 3, UserError, "optimizer.name: "),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    search: list[str], trials: int, error: type[Exception], said: str, trains: Trains
) -> None:
    with pytest.raises(error, match=said):
        sweep("toy", None, [], search, trials=trials)
    assert trains.settings == []


@pytest.mark.parametrize("uri", ["http://a-server:5000", "sqlite:///here.db"])
def test_a_server_has_no_study_in_its_database(uri: str, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr(tracking, "uri", lambda: uri)
    monkeypatch.setenv("UNROLL_RUNS", str(tmp_path / "new" / "runs"))
    own = f"sqlite:///{tmp_path}/new/runs/sweeps.db"
    assert module._storage() == (own if uri.startswith("http") else uri)
