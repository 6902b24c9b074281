"""Networks of each task on the digits, small and fresh."""

import pytest
import torch

from unroll.apps.image import APP
from unroll.data.store import Store

SMALL = ["model.hidden=12", "data.limit=64"]
TASKS = ("classify", "complete", "denoise")


@pytest.fixture(scope="package")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("image"))


def made(store, *settings, preset="default"):
    """(application with its score, config, data, fresh network)."""
    config = APP.config(preset, [*SMALL, *settings]).override(["model.maps=6"])  # read to complete only
    APP.prepare(config, store)
    data = APP.data(config, store)
    torch.manual_seed(0)
    return APP.with_score_for(config), config, data, APP.network(config, data.facts)
