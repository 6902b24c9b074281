from functools import partial

import numpy as np
import pytest
from PIL import Image

from unroll.apps.captioning import data
from unroll.apps.captioning.sources import Picture, Source
from unroll.data.store import Store

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 220)}
SIDE = 16


def plain(colour):
    """A picture of one colour, in a random shade of it."""
    return Image.new("RGB", (SIDE, SIDE), COLOURS[colour])


def colours(counts, spec="colours"):
    """A source of the cheapest pictures: one colour each, which their captions name in two ways."""

    def read():
        for split, count in counts.items():
            for number in range(count):
                colour = list(COLOURS)[number % 3]
                captions = (f"it is {colour}", f"a picture that is all {colour}", f"A {colour.title()} one!")
                yield Picture(f"{split}-{number}", split, captions, partial(plain, colour))

    return Source({"source": spec, "split": "given", "counts": counts}, read)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def prepared(store):
    return data.prepare(store, colours({"train": 12, "val": 3, "test": 3}), side=SIDE, vocabulary=100)


@pytest.fixture
def picture(tmp_path):
    """Writes a picture file of random pixels and gives its path."""

    def write(name, size=(20, 24), mode="RGB", **options):
        random = np.random.default_rng(len(name))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **options)
        return path

    return write
