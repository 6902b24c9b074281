"""A saved model is not trusted: whatever its files hold, loading it ends in a model or in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from torch import nn

from unroll import app as apps
from unroll.errors import UserError
from unroll.sequence.text import Vocabulary
from unroll.tracking import saved
from unroll.tracking.bounded import SPARE, TooLarge, bounded


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small speech recogniser, as a run keeps it."""
    folder = tmp_path_factory.mktemp("model")
    app = apps.load("speech")
    config = app.config("smoke", ["model.hidden=8"])
    vocabulary = Vocabulary(("", *"abc "), "characters", 1).to_json()
    facts = {"vocabulary": vocabulary, "features": {}, "mean": [0.0] * 40, "deviation": [1.0] * 40, "words": ["a", "b"]}
    saved.save(folder, app, config, facts, "0" * 64, app.network(config, facts))
    return folder


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        saved.load(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
    return message


def test_what_was_saved_is_loaded(model: Path) -> None:
    assert saved.load(model).app.name == "speech"


NONE = [
    "", "nothing", "[" * 100_000, "[]", "null", "3", '"speech"', "{}", '{"app": "speech"}',
    '{"app": 3, "config": {}, "facts": {}, "digest": ""}',
    '{"app": "speech", "config": [], "facts": {}, "digest": ""}',
]  # fmt: skip


@pytest.mark.parametrize("text", NONE, ids=range(len(NONE)))
def test_a_description_that_is_none_is_one_line(copy: Path, text: str) -> None:
    (copy / saved.DESCRIPTION).write_text(text)
    assert saved.DESCRIPTION in refused(copy)


@pytest.mark.parametrize("facts", [{}, {"vocabulary": None}, {"vocabulary": []}, {"vocabulary": {"symbols": 3}}])
def test_facts_of_another_kind_are_one_line(copy: Path, facts: Any) -> None:
    change(copy, facts=facts)
    refused(copy)


@pytest.mark.parametrize("settings", [{"hidden": 10**6}, {"hidden": 10**9}, {"layers": 1000}])
def test_more_than_the_weights_hold_is_not_built(copy: Path, settings: dict[str, int]) -> None:
    description = json.loads((copy / saved.DESCRIPTION).read_text())
    description["config"]["model"] |= settings
    (copy / saved.DESCRIPTION).write_text(json.dumps(description))
    assert "TooLarge" in refused(copy) or "allocate" in refused(copy)


def test_layers_without_end_are_no_setting(copy: Path) -> None:
    description = json.loads((copy / saved.DESCRIPTION).read_text())
    description["config"]["model"]["layers"] = 10**7
    (copy / saved.DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"model\.layers: .*less than or equal to 1000"):
        saved.load(copy)


def test_weights_that_are_damaged_or_gone_are_one_line(copy: Path) -> None:
    weights = copy / saved.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    assert saved.WEIGHTS in refused(copy)
    weights.unlink()
    assert saved.WEIGHTS in refused(copy)


def test_a_weight_that_is_no_number_is_one_line(copy: Path) -> None:
    held = load_file(copy / saved.WEIGHTS)
    name = next(iter(held))
    held[name].view(-1)[-1] = float("nan")
    save_file(held, copy / saved.WEIGHTS)
    assert f"is damaged: {name} holds NaN" in refused(copy)


def test_weights_of_another_shape_are_one_line(copy: Path) -> None:
    held = load_file(copy / saved.WEIGHTS)
    save_file({name: tensor[:1].clone() for name, tensor in held.items()}, copy / saved.WEIGHTS)
    assert "does not fit" in refused(copy)


def change(folder: Path, **values: Any) -> None:
    description = json.loads((folder / saved.DESCRIPTION).read_text())
    (folder / saved.DESCRIPTION).write_text(json.dumps(description | values))


def test_a_network_is_bounded_while_it_is_built() -> None:
    with bounded(0):
        nn.Linear(1000, 1000)
    with pytest.raises(TooLarge, match="but its weights are 10"), bounded(10):
        nn.Linear(1100, 1000)
    nn.Linear(1100, 1000)  # outside nothing is counted


def test_modules_without_weights_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.tracking.bounded.SPARE", 100)
    with pytest.raises(TooLarge), bounded(0):
        nn.Sequential(*(nn.Identity() for _ in range(101)))
    assert SPARE > 100


def test_a_bound_does_not_take_memory_first() -> None:
    """The parameter is refused before it is filled: 4 TB are asked for here, or not even promised."""
    with pytest.raises((TooLarge, RuntimeError)), bounded(10):
        nn.Linear(1 << 20, 1 << 20)


def test_mlflow_takes_and_gives_the_values_of_predict(model: Path) -> None:
    loaded = saved.load(model)
    given = [(np.zeros(8000, np.float32), 8000), [[0.0] * 8000, 8000], loaded.app.examples[0]]
    served = saved._load_pyfunc(str(model)).predict(pd.DataFrame({"input": given}))
    assert served["output"].tolist() == loaded.predict(given)


def test_outputs_that_are_no_text_stay_what_they_are(model: Path) -> None:
    loaded = saved.load(model)
    answers: list[Any] = [{"a": [1, 2]}, ["x"], "text"]
    changed = replace(loaded, app=replace(loaded.app, predict=lambda network, inputs: answers))
    assert saved._Served(changed).predict(pd.DataFrame({"input": ["a", "b", "c"]}))["output"].tolist() == answers


@pytest.mark.parametrize(("app", "kind"), [("speech", "any"), ("language", "string")])
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_the_signature_is_text_where_all_inputs_are(client: Any, model: Path, app: str, kind: str) -> None:
    from unroll import tracking

    loaded = apps.load(app)
    run = tracking.Run(client, tracking.start(client, loaded, loaded.config("smoke"), "0" * 64), system_metrics=False)
    run.model(model, loaded)
    run.finish("FINISHED")
    [logged] = client.search_logged_models([client.get_run(run.id).info.experiment_id])
    info = mlflow.models.get_model_info(f"models:/{logged.model_id}")
    signature = info.signature.to_dict()
    assert json.loads(signature["inputs"]) == [{"type": kind, "name": "input", "required": True}]
    needed = Path(mlflow.artifacts.download_artifacts(f"models:/{logged.model_id}"), "requirements.txt").read_text()
    assert needed.startswith("unroll[apps]") and "\ntorch==" in needed
