"""Encoders by name. timm cannot be installed here; a module with the same interface replaces it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.apps.captioning.conftest import SIDE, colours
from unroll.app import load
from unroll.apps.captioning import APP, data
from unroll.errors import UserError
from unroll.tracking import saved

SETTINGS = ["model.backbone=tiny", f"data.side={SIDE}", "model.hidden=8", "model.embedding=8", "train.batch=4"]


class Convolutional(nn.Module):
    """As timm's convolutional networks: `forward_features` gives maps [B, D, h, w]."""

    num_features = 12
    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}  # noqa: RUF012

    def __init__(self, pretrained):
        super().__init__()
        self.layer = nn.Conv2d(3, 12, 8, 8)
        with torch.no_grad():
            self.layer.weight.fill_(0.001 if pretrained else 0.5)
            self.layer.bias.copy_(torch.arange(12.0))

    def forward_features(self, x):
        return self.layer(x)


class Transformer(Convolutional):
    """As timm's transformers: a class token before the places, [B, 1 + N, D]."""

    num_prefix_tokens = 1

    def forward_features(self, x):
        places = self.layer(x).flatten(2).transpose(1, 2)
        return torch.cat((places.mean(1, keepdim=True) + 100, places), 1)


@pytest.fixture(params=[Convolutional, Transformer])
def timm(request, monkeypatch):
    asked = []

    def create_model(name, *, pretrained, num_classes):
        assert num_classes == 0
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})")
        asked.append(pretrained)
        return request.param(pretrained)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return asked


@pytest.fixture
def pictures(monkeypatch):
    source = colours({"train": 9, "val": 3, "test": 3})
    monkeypatch.setattr("unroll.apps.captioning._source", lambda config: source)


def test_without_timm_one_line_says_what_to_install(store, pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"^model.backbone=tiny needs timm: pip install 'unroll\[backbones\]'$"):
        APP.prepare(APP.config("smoke", SETTINGS), store)


def test_a_name_that_timm_does_not_know(store, pictures, timm):
    with pytest.raises(UserError, match=r"model.backbone=tinny: timm cannot make it \(Unknown model \(tinny\)\)"):
        APP.prepare(APP.config("smoke", [*SETTINGS, "model.backbone=tinny"]), store)


def test_annotations_of_a_frozen_backbone_are_computed_once(store, pictures, timm):
    config = APP.config("smoke", SETTINGS)
    APP.prepare(config, store)
    assert timm == [True, False]  # the weights are fetched once, and put into the encoder that annotates
    found = APP.data(config, store)
    batch = next(iter(found.train))
    assert len(timm) == 2
    assert batch.pictures.shape == (4, 4, 12) and batch.pictures.dtype == torch.float16
    model = APP.model(config, found.facts)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    raw = data.read_arrays(
        data.prepare(store, colours({"train": 9, "val": 3, "test": 3}), side=SIDE, vocabulary=10000).folder
    )
    row = int(batch.records[0]["id"].partition("-")[2])
    places = model.annotations(torch.from_numpy(raw["train"][[row]].copy()))
    torch.testing.assert_close(places[:, 0], batch.pictures[0].float(), atol=1e-2, rtol=1e-2)
    assert places.max() < 50  # without the class token
    shade = (raw["train"][row] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(places[0, 0, 3], 3 + 0.001 * shade[:8, :8].sum(), rtol=1e-4)
    step = APP.step(model.train(), batch, None)
    step.loss.backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
    assert APP.figures(model, found.test, None) == {}


def test_a_backbone_that_is_trained_starts_from_its_weights(store, pictures, timm):
    config = APP.config("smoke", [*SETTINGS, "model.frozen=false"])
    APP.prepare(config, store)
    found = APP.data(config, store)
    model, batch = APP.model(config, found.facts), next(iter(found.train))
    assert batch.pictures.dtype == torch.uint8
    assert model.encoder.network.layer.weight[0, 0, 0, 0].item() == pytest.approx(0.001)
    APP.step(model.train(), batch, None).loss.backward()
    assert model.encoder.network.layer.weight.grad is not None


def test_a_saved_model_brings_its_backbone(store, pictures, timm, tmp_path, picture):
    app = load("captioning")
    config = app.config("smoke", SETTINGS)
    app.prepare(config, store)
    found = app.data(config, store)
    model = app.model(config, found.facts).eval()
    saved.save(tmp_path / "model", app, config, found.facts, found.digest, model)
    store.root.rename(tmp_path / "gone")
    paths = [picture("x.png")]
    assert saved.load(tmp_path / "model").predict(paths) == app.predict(model, paths)
    assert timm.count(True) == 1
