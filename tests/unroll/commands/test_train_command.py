"""`train` around the loop: what is kept if something fails after it, time limits, and the final message."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelStatus
from mlflow.tracking import MlflowClient
from torch import nn

from tests.unroll.training.toy import APP, Model
from unroll import app as apps
from unroll import tracking
from unroll.app import App
from unroll.commands.evaluate import evaluate
from unroll.commands.training import train_one
from unroll.errors import Notice, UserError
from unroll.tracking import model_registry, saved
from unroll.tracking import run as run_module

Use = Callable[..., App]
# MLflow warns of the types in its own interface when its pyfunc is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture
def use(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes the toy application, with changes, the one that every name means."""
    monkeypatch.setattr(run_module, "_MONITOR", None)
    run = tracking.Run
    monkeypatch.setattr(tracking, "Run", lambda client, id: run(client, id, system_metrics=False))

    def use(**changes: Any) -> App:
        app = replace(APP, **changes)
        monkeypatch.setattr(apps, "load", lambda name: app)
        return app

    return use


def broken(*_: Any) -> Any:
    raise ValueError("Expected end of text, found '$'")


def test_a_picture_that_fails_loses_no_model(use: Use, client: MlflowClient) -> None:
    def figures(*_: Any) -> Mapping[str, Figure]:
        figure = Figure()
        figure.suptitle("$10_-_$20")
        return {"prices": figure}

    use(figures=figures)
    done = train_one("toy", settings=["train.epochs=1"])
    assert tracking.runs(client, "toy")[0].status == "FINISHED"
    assert saved.load(model_registry.model_folder(client, "toy", done["run"])).predict(["one"]) == ["one"]
    assert [one.path for one in client.list_artifacts(done["run"], "figures")] == ["figures/prices.png"]


@pytest.mark.parametrize(("what", "said"), [("figures", "pictures: left out"), ("baselines", "baselines of toy: left")])
def test_what_comes_after_the_model_may_fail(what: str, said: str, use: Use, client: MlflowClient) -> None:
    use(**{what: broken})
    with pytest.warns(Notice, match=f"^{said}.*ValueError: Expected end of text"):
        done = train_one("toy", settings=["train.epochs=1"])
    assert tracking.runs(client, "toy")[0].status == "FINISHED"
    assert saved.load(model_registry.model_folder(client, "toy", done["run"])).app.name == "toy"


def test_the_model_is_there_before_anything_that_follows_it(use: Use, client: MlflowClient) -> None:
    seen = []

    def baselines(*_: Any) -> dict[str, dict[str, float]]:
        seen.append(model_registry.model_folder(client, "toy", tracking.runs(client, "toy")[0].id))
        return {}

    use(baselines=baselines)
    train_one("toy", settings=["train.epochs=1"])
    assert len(seen) == 1 and (seen[0] / saved.WEIGHTS).is_file()


def test_the_last_line_says_that_the_model_loses(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    use(baselines=lambda config, data: {"mean": {"mse": 0.0}, "noise": {"mse": 1e9}, "zero": {"mse": 1e-9}})
    done = train_one("toy", settings=["train.epochs=1"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("note: this model does not beat 2 of 3 baselines: its test/mse is ")
    assert ", mean has 0, zero has 1e-09 (lower is better)" in last
    assert done["unbeaten"] == ["mean", "zero"]
    again = evaluate("toy", [done["run"]])
    assert capsys.readouterr().out.strip().splitlines()[-1] == last and again["unbeaten"] == ["mean", "zero"]
    assert evaluate("toy", [done["run"]], split="val")["unbeaten"] == []


def test_a_model_that_wins_is_left_in_peace(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    use(baselines=lambda config, data: {"noise": {"mse": 1e9}, "undefined": {"mse": float("nan")}})
    assert train_one("toy", settings=["train.epochs=1"])["unbeaten"] == []
    assert "does not beat" not in capsys.readouterr().out


def test_data_of_ones_own_are_trained_on_in_steps(use: Use, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("unroll.training.budget.STEPS", 60)
    monkeypatch.setattr("unroll.training.budget.EVALUATIONS", 3)
    use()
    done = train_one("toy", settings=[f"data.path={tmp_path}"])
    said = capsys.readouterr().out
    assert "60 optimiser steps: 10 epochs of 6\n" in said
    assert "train.epochs=10 and train.evaluate_every=4 for data of your own, which have 6 steps in an epoch" in said
    assert "note: 60 steps are few to learn from; for about 60: --set train.epochs=10" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("epoch ")] == ["4/10", "8/10", "10/10"]
    assert done["steps"] == 60
    [run] = tracking.runs(tracking.connect(), "toy")
    assert run.params["train.epochs"] == "10" and run.params["train.evaluate_every"] == "4"


def test_a_killed_run_that_was_linking_its_model_is_whole_when_resumed(use: Use, client: MlflowClient) -> None:
    app = use()
    done = train_one("toy", settings=["train.epochs=1"])
    first = model_registry.model_id(client, tracking.runs(client, "toy")[0])
    client.create_logged_model(tracking.experiment(client, "toy"), "model", source_run_id=done["run"])
    client.update_run(done["run"], status="RUNNING")
    train_one("toy", resume=done["run"])
    [run] = tracking.runs(client, app.name)
    models = client.search_logged_models([tracking.experiment(client, "toy")])
    assert {model.status for model in models} == {LoggedModelStatus.READY}
    newest = max(models, key=lambda model: model.creation_timestamp)
    assert model_registry.model_id(client, run) == newest.model_id != first
    assert "train/total_per_second" in run.metrics and run.metrics["train/total_data_wait"] > 0


def test_a_model_that_is_not_ready_is_none(use: Use, client: MlflowClient) -> None:
    app = use()
    id = tracking.start(client, app, app.config(), "d" * 64)
    client.create_logged_model(tracking.experiment(client, "toy"), "model", source_run_id=id)
    client.set_terminated(id, "FINISHED")
    with pytest.raises(UserError, match="holds no model"):
        model_registry.model_folder(client, "toy", id)


def test_a_run_that_is_resumed_on_other_code_says_so(
    use: Use, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use()
    done = train_one("toy", settings=["train.epochs=1"])
    client.update_run(done["run"], status="RUNNING")
    train_one("toy", resume=done["run"])
    assert "code" not in capsys.readouterr().out.replace("decode", "")
    [run] = tracking.runs(client, "toy")
    assert "code.resumed" not in run.tags and run.tags["device"] == "cpu" and "cores" in run.tags["machine"]
    client.update_run(done["run"], status="RUNNING")
    monkeypatch.setattr(run_module, "code_digest", lambda app: "another")
    train_one("toy", resume=done["run"])
    assert "note: the code is not the one that this run began with; the run is tagged" in capsys.readouterr().out
    [run] = tracking.runs(client, "toy")
    assert run.tags["code.resumed"] == "another" and run.tags["code.digest"] != "another"


class Frozen(Model):
    """The toy's model beside weights that are not trained."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.fixed = nn.Linear(7, 7).requires_grad_(False)


def test_what_is_answered_is_what_the_run_holds(use: Use, client: MlflowClient) -> None:
    use(model=lambda config, facts: Frozen(config.model.hidden), baselines=lambda *_: {"mean": {"mse": 0.25}})
    done = train_one("toy", settings=["train.epochs=2", "train.patience=9"])
    [run] = tracking.runs(client, "toy")
    size = sum(p.numel() for p in Model(APP.config().model.hidden).parameters())
    assert done["parameters"] == run.metrics["parameters"] == size
    assert (done["app"], done["run"], done["status"]) == ("toy", run.id, run.status) == ("toy", run.id, "FINISHED")
    assert (done["epochs"], done["steps"]) == (2, 12)
    assert done["metrics"] == {"test/mse": run.metrics["test/mse"]} and run.metrics["baseline/mean/mse"] == 0.25
    assert (done["best"], done["best_epoch"]) == (run.metrics["best/mse"], run.metrics["best/epoch"])
    assert done["seconds"] == round(run.metrics["train/total_seconds"], 2)
    assert done["data_wait"] == round(run.metrics["train/total_data_wait"], 4)
    assert run.tags["signature.test"] == done["signature"] and "backends" in run.tags
    assert {"val/mse", "epoch", "seconds", "train/loss"} <= set(run.metrics) and run.metrics["epoch"] == 2


def test_a_seed_decides_the_weights(use: Use) -> None:
    use()
    found = [train_one("toy", settings=["train.epochs=1", f"train.seed={seed}"])["metrics"] for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_notes_on_the_data_are_said(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    use(data=lambda config, store: replace(APP.data(config, store), notes=("3 rows are empty", "another")))
    train_one("toy", settings=["train.epochs=1"])
    lines = capsys.readouterr().out.splitlines()
    assert "note: 3 rows are empty" in lines and "note: another" in lines


def test_other_data_than_those_of_the_run_are_refused(use: Use, client: MlflowClient) -> None:
    use()
    done = train_one("toy", settings=["train.epochs=1"])
    client.update_run(done["run"], status="RUNNING")
    use(data=lambda config, store: replace(APP.data(config, store), digest="f" * 64))
    with pytest.raises(UserError, match=r"the prepared data are not those of that run \(digest f{12}, was 0{12}\)"):
        train_one("toy", resume=done["run"])
