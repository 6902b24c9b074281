"""One run, several runs, and runs that cannot form an ensemble."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from unroll import app as apps
from unroll.commands import loading
from unroll.errors import UserError
from unroll.tracking.saved import Saved


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs of similarity: "a" knows 1, "b" knows 3, "latest" knows 5."""
    numbers = {"a": 1.0, "b": 3.0, "latest": 5.0}

    def model(name: str, reference: str, settings: Any) -> Saved:
        app, one = apps.load(name), nn.Linear(1, 1)
        nn.init.constant_(one.weight, numbers[reference])
        ensemble = None if settings else Mean
        return Saved(replace(app, ensemble=ensemble), app.config(), {}, "", one)

    monkeypatch.setattr(loading, "_trained", model)


class Mean(nn.Module):
    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.number = sum(next(one.parameters()).item() for one in models) / len(models)


def test_one_run_is_that_model(runs: None) -> None:
    [number, _] = loading.trained("similarity", ["latest"]).model.parameters()
    assert torch.equal(number, torch.tensor([[5.0]]))


def test_several_runs_are_their_ensemble(runs: None) -> None:
    model = loading.trained("similarity", ["a", "b"]).model
    assert isinstance(model, Mean) and math.isclose(model.number, 2.0) and not model.training


def test_an_application_without_ensembles_says_so(runs: None) -> None:
    with pytest.raises(UserError, match="similarity has no ensembles of several runs; give one"):
        loading.trained("similarity", ["a", "b"], ["none"])
