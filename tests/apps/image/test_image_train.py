"""The three tasks: loss, gradients, metrics, figures, settings."""

import json

import pytest
import torch

from unroll.apps.image import APP
from unroll.apps.image.config import PRESETS, ImageConfig
from unroll.apps.image.figures import figures
from unroll.data import images
from unroll.errors import UserError
from unroll.tracking import saved
from unroll.training.evaluation import evaluate

from .conftest import TASKS, made

ORDERS = ("rows", "pixels", "permuted", "patches", "sweeps")


@pytest.mark.parametrize("settings", [[f"train.task={t}"] for t in TASKS] + [[f"model.order={o}"] for o in ORDERS])
def test_a_step_gives_a_finite_loss_and_reaches_every_parameter(store, settings):
    app, _, data, network = made(store, *settings, "model.layers=2")
    step = app.step(network.train(), next(iter(data.train)), None)
    step.loss.backward()
    assert step.loss.isfinite() and step.size == 64
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_judged_by_a_score_that_their_task_reports(store, preset):
    app, config, data, network = made(store, "data.source=builtin", preset=preset)
    report = evaluate(app, network, data.val)
    assert next(iter(report.metrics)) == app.score.name
    assert {"classify": "accuracy", "complete": "bits_per_pixel", "denoise": "mse"}[config.train.task] == app.score.name
    assert len(report.records) == 183


@pytest.mark.parametrize(
    ("task", "names"), [("classify", {"confusion"}), ("complete", {"completions", "new"}), ("denoise", {"denoised"})]
)
def test_figures_are_drawn(store, tmp_path, task, names):
    app, _, data, network = made(store, f"train.task={task}")
    found = figures(network.eval(), data.test, evaluate(app, network, data.test))
    assert set(found) == names
    for name, figure in found.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=50)
        assert images.pixels(images.load(tmp_path / f"{name}.png")).std() > 5


def test_a_saved_model_keeps_its_permutation(store, tmp_path):
    app, config, data, network = made(store, "model.order=permuted", "model.permutation=3")
    saved.save(tmp_path, app_named(app), config, data.facts, data.digest, network)
    loaded = saved.load(tmp_path)
    assert torch.equal(loaded.model.sequence.permutation, network.sequence.permutation)
    inputs = list(APP.examples)
    assert json.dumps(loaded.predict(inputs)) == json.dumps(app.predict(network.eval(), inputs))


def app_named(app):
    from dataclasses import replace

    return replace(app, name="image")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.task=complete", "data.colour=true"], "draws grey pictures"),
        (["model.order=sweeps", "model.pooling=last"], "has no last state"),
        (["data.levels=1"], "data.levels: write 0"),
        (["model.order=spiral"], "model.order"),
        (["train.task=paint"], "train.task"),
        (["predict.keep=1"], "predict.keep"),
    ],
)
def test_settings_that_cannot_be(settings, told):
    with pytest.raises(UserError, match=told):
        APP.config("default", settings)


@pytest.mark.parametrize(("setting", "told"), [("cell=lstn", "did you mean"), ("init=chronos", "init=chronos")])
def test_cells_and_initialisations_that_are_not_there(store, setting, told):
    with pytest.raises(UserError, match=told):
        made(store, f"model.{setting}")
    with pytest.raises(UserError, match="is a cell over maps"):
        made(store, "model.cell=convlstm")  # reads maps


def test_every_setting_is_explained():
    from unroll.config import describe

    assert all(text for _, _, text in describe(ImageConfig()))
