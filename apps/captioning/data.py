"""From pictures and captions to batches: everything is read once into the store, and batches are cut from there.

A prepared set holds the tokeniser, and an array of pictures and a file of records for each split.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data import images
from unroll.data.arrays import read_arrays, write_rows
from unroll.data.files import read_json, read_jsonl, write_json, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import few
from unroll.sequence.batching import pad
from unroll.sequence.resumable_sampler import RowSampler, resumable
from unroll.sequence.text import plain
from unroll.sequence.tokens import Tokeniser

from .decoder import IGNORE
from .sources import Picture, Source

NAME = "captioning"
Key = tuple[int, int]
"""(row of a split, epoch)"""


class Batch(NamedTuple):
    """Pictures with their captions, those with the longest caption first."""

    pictures: Tensor
    """uint8 [B, H, W, 3]; with a frozen encoder its annotations, float16 [B, S, D]"""
    tokens: Tensor
    """captions with their ends, and IGNORE past them, [T, B x C]; those of a picture are next to each other"""
    records: list[dict[str, Any]]
    """for each picture: id, all its captions, scene"""
    epoch: int


def prepare(store: Store, source: Source, *, side: int, vocabulary: int) -> Prepared:
    """Read all pictures and captions, fit pictures into a square, and number the words.

    Args:
        side: of the square, in pixels; see `unroll.data.images.pixels`.
        vocabulary: maximum number of words, the most frequent ones of the training captions.

    Raises:
        UserError: a picture that cannot be read, by its row and file, or a split without pictures.
    """

    def write(folder: Path) -> None:
        splits, notes = _by_split(source)
        texts = (f"{caption}\n" for picture in splits["train"] for caption in picture.captions)
        tokeniser = Tokeniser.fit(texts, "words", vocabulary)
        for split, pictures in splits.items():
            shown = (images.pixels(picture.load(), (side, side)) for picture in pictures)
            write_rows(folder / f"{split}.npy", shown, (len(pictures), side, side, 3), np.uint8)
            write_jsonl(folder / f"{split}.jsonl", (_record(picture, tokeniser) for picture in pictures))
        write_json(folder / "facts.json", {"tokeniser": tokeniser.to_json(), "notes": notes})

    return store.prepare(NAME, {"source": source.spec, "side": side, "vocabulary": vocabulary}, write)


def batches(
    prepared: Prepared, *, size: int, captions: int, seed: int, annotations: Prepared | None = None
) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        size: pictures per batch.
        captions: captions per picture; if it has more, they are sampled again in every epoch.
        seed: of the order, and of that sampling.
        annotations: of a frozen encoder, to use in place of the pictures.
    """
    facts = read_json(prepared.folder / "facts.json")
    arrays = read_arrays((annotations or prepared).folder)
    splits = {}
    for split in SPLITS:
        rows = _Pictures(arrays[split], list(read_jsonl(prepared.folder / f"{split}.jsonl")), captions, seed)
        sampler = _Order(len(rows), size, seed=seed, shuffle=split == "train")
        end = Tokeniser.from_json(facts["tokeniser"]).first
        splits[split] = resumable(rows, sampler, partial(collate, end=end), seed=seed)
    notes = tuple(facts.pop("notes"))
    # Self-critical training counts phrases in the training captions; a saved model does not need them.
    facts["folder"] = str(prepared.folder)
    return Data(**splits, facts=facts, digest=prepared.digest, split=prepared.spec["source"]["split"], notes=notes)


def training_captions(folder: Path) -> Iterator[Sequence[str]]:
    """The captions of each training picture of the set prepared in `folder`."""
    return (record["captions"] for record in read_jsonl(folder / "train.jsonl"))


class _Order(RowSampler):
    """Batches of pictures, each with the epoch, which decides the captions."""

    def batches(self, start: int) -> Iterable[list[Key]]:
        return ([(row, self.epoch) for row in rows] for rows in super().batches(start))


class _Pictures(Dataset[dict[str, Any]]):
    """The pictures of a split, each with `captions` of its captions, sampled by (seed, epoch, row)."""

    def __init__(self, arrays: NDArray[Any], records: list[dict[str, Any]], captions: int, seed: int) -> None:
        self._arrays, self._records, self._captions, self._seed = arrays, records, captions, seed

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row, epoch = key
        record = self._records[row]
        random = np.random.default_rng([self._seed, epoch, row])
        there = len(record["tokens"])
        # Shuffled, and repeated until there are enough: no caption comes twice before all have come once.
        order = [i for _ in range(-(-self._captions // there)) for i in random.permutation(there).tolist()]
        tokens = [record["tokens"][i] for i in order[: self._captions]]
        return record | {"picture": self._arrays[row], "tokens": tokens, "epoch": epoch}


def collate(rows: list[dict[str, Any]], end: int) -> Batch:
    """Pictures with the longest caption first; `end` is appended to each caption."""
    rows = sorted(rows, key=lambda row: -max(map(len, row["tokens"])))
    tokens, _ = pad([torch.tensor([*caption, end]) for row in rows for caption in row["tokens"]], IGNORE)
    pictures = torch.from_numpy(np.stack([row["picture"] for row in rows]))
    records = [{key: row[key] for key in ("id", "captions", "scene")} for row in rows]
    return Batch(pictures, tokens, records, rows[0]["epoch"])


def _by_split(source: Source) -> tuple[dict[str, list[Picture]], list[str]]:
    """The pictures of each split that have a caption, and notes on the others."""
    splits: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    empty, without = 0, []
    for picture in source.read():
        texts = [plain(caption, "drop") for caption in picture.captions]
        empty += texts.count("")
        captions = tuple(text for text in texts if text)
        if captions:
            splits[picture.split].append(picture._replace(captions=captions))
        else:
            without.append(picture.id)
    source.check_splits({split for split, pictures in splits.items() if pictures}, "pictures")
    usable = [picture for pictures in splits.values() for picture in pictures]
    notes = source.check_varied("caption", [(one.split, caption) for one in usable for caption in one.captions])
    if empty:
        named = f"; pictures left without any: {few(without)}" if without else ""
        notes.append(f"{empty} captions have no words and are left out{named}")
    return splits, notes


def _record(picture: Picture, tokeniser: Tokeniser) -> dict[str, Any]:
    tokens = [tokeniser.encode(caption) for caption in picture.captions]
    return {"id": picture.id, "captions": list(picture.captions), "tokens": tokens, "scene": picture.scene}
