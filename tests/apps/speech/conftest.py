import json
from functools import partial

import numpy as np
import pytest
import torch

from unroll.apps.speech import APP, data, preparation
from unroll.apps.speech.config import SpeechConfig
from unroll.apps.speech.features import LogMel
from unroll.apps.speech.sources import Source, Utterance
from unroll.data.store import Store


def tones(texts, *, seconds=0.5, rate=8000, spec="tones"):
    """A source of cheap utterances: a tone per word, (split, text) each."""

    def read():
        for number, (split, text) in enumerate(texts):
            words = text.split()
            time = np.arange(int(seconds * rate)) / rate
            parts = [np.sin(2 * np.pi * (300 + 40 * (sum(map(ord, word)) % 40)) * time) for word in words]
            noise = np.random.default_rng(number).standard_normal(len(words) * len(time)) / 50
            yield Utterance(f"u{number}", text, "nobody", split, (np.concatenate(parts) / 3 + noise).astype(np.float32))

    return Source({"source": spec, "split": "given", "texts": [list(pair) for pair in texts]}, read)


WORDS = ("one", "two", "three")
TEXTS = [("train", f"{a} {b}") for a in WORDS for b in WORDS] + [
    ("val", "one three"),
    ("test", "two"),
    ("test", "three one two"),
]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def prepared(store):
    return preparation.prepare(store, tones(TEXTS), LogMel())


@pytest.fixture
def batches():
    return partial(data.batches, units="characters", stack=3, seconds=4.0, seed=0, where="data.source=tones")


CONFIG = SpeechConfig().override(["model.hidden=32", "model.layers=1", "model.dropout=0", "decode.beam=3"])


@pytest.fixture
def made(prepared, batches):
    return batches(prepared, seconds=20.0)


@pytest.fixture
def model(made):
    torch.manual_seed(0)
    facts = json.loads(json.dumps(made.facts))
    return APP.model(CONFIG, facts)
