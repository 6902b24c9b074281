"""From pictures to batches: pixels of one size and number of grey levels are prepared once in the store.

A prepared set is the pixels and labels of each split as arrays, their names, and the facts: size, levels, classes.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data.arrays import read_arrays, write_arrays
from unroll.data.files import read_json, write_json
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.sequence.resumable_sampler import RowSampler, resumable

from .sources import Pixels, Source

NAME = "image"


class Batch(NamedTuple):
    """Pictures of one size."""

    pixels: Tensor
    """levels of grey, or of red, green and blue, [B, height, width, channels] uint8"""
    labels: Tensor
    """number of the class, [B]"""
    rows: Tensor
    """number in the split, [B]"""
    ids: list[str]


class Rows(Dataset[Batch]):
    """The pictures of a split, read on demand, a whole batch at a time."""

    def __init__(self, pixels: Pixels, labels: NDArray[np.int64], ids: list[str]) -> None:
        self.pixels, self.labels, self.ids = pixels, labels, ids

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: list[int]) -> Batch:
        pixels, labels = torch.from_numpy(self.pixels[rows]), torch.from_numpy(self.labels[rows])
        return Batch(pixels, labels, torch.tensor(rows), [self.ids[row] for row in rows])


def prepare(store: Store, source: Source, levels: int = 0) -> Prepared:
    """Prepare all pictures of `source` in the store.

    Args:
        levels: number of grey levels to quantise to; 0: those of the source.

    Raises:
        UserError: a picture that cannot be read, or a split without pictures.
    """

    def write(folder: Any) -> None:
        pictures, wanted = source.read(), levels or source.levels
        pixels = quantised(pictures.pixels, source.levels, wanted)
        source.check_splits(pictures.splits, "pictures")
        names: dict[str, list[str]] = {}
        for split in SPLITS:
            rows = np.array([own == split for own in pictures.splits])
            write_arrays(folder, {f"{split}_pixels": pixels[rows], f"{split}_labels": pictures.labels[rows]})
            names[split] = [pictures.ids[row] for row in np.flatnonzero(rows)]
        height, width, channels = pixels.shape[1:]
        facts = {"height": height, "width": width, "channels": channels, "levels": wanted}
        write_json(folder / "facts.json", facts | {"classes": list(source.classes)})
        write_json(folder / "names.json", names)

    return store.prepare(NAME, {"source": source.spec, "levels": levels}, write)


def quantised(pixels: Pixels, levels: int, wanted: int) -> Pixels:
    """Values from 0 to levels - 1 rescaled to 0 to wanted - 1, and rounded."""
    if levels == wanted:
        return pixels
    table = np.round(np.arange(levels) * ((wanted - 1) / (levels - 1))).astype(np.uint8)
    return np.asarray(table[pixels])


def batches(prepared: Prepared, *, size: int, seed: int, limit: int = 0) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        size: pictures per batch.
        seed: random seed of the order.
        limit: maximum number of training pictures, taken evenly from the split; 0: all.
    """
    arrays, names = read_arrays(prepared.folder), read_json(prepared.folder / "names.json")
    loaders = {}
    for split in SPLITS:
        pixels, labels = arrays[f"{split}_pixels"], arrays[f"{split}_labels"]
        dataset = Rows(pixels, labels, names[split])
        if split == "train" and 0 < limit < len(labels):
            rows = np.linspace(0, len(labels) - 1, limit).astype(int)
            dataset = Rows(pixels[rows], labels[rows], [names[split][row] for row in rows])
        sampler = RowSampler(len(dataset), size, seed=seed, shuffle=split == "train")
        loaders[split] = resumable(dataset, sampler, lambda batch: batch, seed=seed)
    facts, rule = read_json(prepared.folder / "facts.json"), prepared.spec["source"]["split"]
    return Data(**loaders, facts=facts, digest=prepared.digest, split=rule)
