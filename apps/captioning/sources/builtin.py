"""Rendered scenes, described. No download; a function of (pictures, seed)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from unroll.data.source import SPLITS, Split

from ..grammar import describe
from ..scenes import SIDE, compose, draw
from . import Picture, Source

VERSION = 1
"""part of the specification: raise it when the same settings give other pictures"""
SPLIT = "by combination of shape, colour and texture"
CAPTIONS = 5
"""of each picture"""
OTHERS: dict[Split, tuple[float, int]] = {"val": (0.05, 200), "test": (0.125, 500)}
"""pictures of val and test: as a share of those of train, and at most"""


def source(pictures: int, seed: int) -> Source:
    """`pictures` pictures to train on, fewer for val, and fewer for test, each with a held-out combination."""
    spec = {"source": "builtin", "version": VERSION, "pictures": pictures, "seed": seed, "side": SIDE, "split": SPLIT}
    return Source(spec, partial(_read, pictures, seed))


def _read(pictures: int, seed: int) -> Iterator[Picture]:
    for number, split in enumerate(SPLITS):
        share, most = OTHERS.get(split, (1.0, pictures))
        for index in range(min(most, max(2, round(share * pictures)))):
            random = np.random.default_rng((seed, number, index))
            scene = compose(split, random)
            captions = tuple(describe(scene, random) for _ in range(CAPTIONS))
            yield Picture(f"{split}-{index:05d}", split, captions, partial(draw, scene, random), [*map(list, scene)])
