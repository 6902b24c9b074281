from functools import partial

import pytest
import torch

from unroll.apps.translation import data
from unroll.apps.translation.model import Translator
from unroll.apps.translation.options import Decoding
from unroll.apps.translation.sources import Pair, Source
from unroll.data.store import Store

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}


def sentences(*, extra=()):
    """Every pair of the small words, two of them for val and test; `extra` pairs go to train."""
    texts = [(f"{a} {b}", f"{WORDS[a]} {WORDS[b]}") for a in WORDS for b in WORDS]
    splits = ["val", "test", *["train"] * (len(texts) - 2)]
    pairs = [Pair(f"p{n}", *text, split) for n, (text, split) in enumerate(zip(texts, splits, strict=True))]
    pairs += [Pair(f"e{n}", *text, "train") for n, text in enumerate(extra)]
    return Source(
        {"source": "small", "split": "given", "pairs": [list(pair) for pair in pairs]},
        lambda: iter(pairs),
        languages=("en", "de"),
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def prepare(store):
    return partial(data.prepare, store, units="words", size=100, joint=False, longest=20)


@pytest.fixture
def prepared(prepare):
    return prepare(sentences())


@pytest.fixture
def loaders(prepared):
    return data.batches(prepared, budget=40, seed=0)


@pytest.fixture
def make(loaders):
    """A model of the small words with the given options, the same weights every time."""

    def made(*, seed=9, decoding=None, **options):
        torch.manual_seed(seed)
        source, target = data.tokenisers(loaders.facts)
        small = {"hidden": 6, "embedding": 8, "cell": "gru", "decoding": decoding or Decoding(), **options}
        model = Translator(source, target, ("en", "de"), **small)
        for parameter in model.parameters():  # larger than at the start of training, so that something is decided
            torch.nn.init.normal_(parameter, std=0.6)
        return model.eval()

    return made
