"""A small text, its prepared streams, and a briefly trained model."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unroll.apps.language import APP, batches, prepare
from unroll.apps.language.config import LanguageConfig
from unroll.data.store import Store
from unroll.recurrence.state import detach

LINES = ["the cat sat on the mat .", "a dog ran to the cat .", "the mat is red , the dog is not ."]
TEXT = "\n".join(LINES[i % 3] for i in range(300)) + "\n"
SMALL = ["data.source=file", "model.hidden=24", "train.batch=4", "train.window=16", "generate.length=30"]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def configured(path: Any, *settings: str) -> LanguageConfig:
    return LanguageConfig().override([*SMALL, f"data.path={path}", *settings])


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(config, data, model) by units: enough training to have learnt some of the text."""
    folder = tmp_path_factory.mktemp("language")
    path = folder / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    made: dict[str, SimpleNamespace] = {}

    def give(units: str) -> SimpleNamespace:
        if units not in made:
            config = configured(path, f"data.units={units}")
            store = Store(folder / "data")
            prepare(config, store)
            data = batches(config, store)
            torch.manual_seed(0)
            network = APP.model(config, data.facts)
            optimizer, state = torch.optim.Adam(network.parameters(), lr=0.02), None
            for window in [*data.train] * (3 if units == "characters" else 6):
                step = APP.step(network, window, state)
                optimizer.zero_grad()
                step.loss.backward()
                optimizer.step()
                state = detach(step.state)
            made[units] = SimpleNamespace(config=config, data=data, model=network.eval())
        return made[units]

    return give
