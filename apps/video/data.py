"""From clips to batches: frames are brought to one size once, into the store; batches are read from there.

A prepared set is one file of uint8 frames, one after the other, a record per clip, and the frames' shape.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl, write_json, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import UserError, did_you_mean
from unroll.sequence.batching import loader, pad

from .sources import Source

NAME = "video"
FRAMES = "frames.u8"
Record = dict[str, Any]


class Batch(NamedTuple):
    """Clips of similar length."""

    frames: Tensor
    """[T, B, C, Y, X], 0 to 1, zero beyond a clip's end"""
    lengths: Tensor
    """frames of each clip, [B]"""
    labels: Tensor
    """number of the class, [B]; zeros where clips have none"""
    records: list[Record]
    """of each clip: id, label"""


def prepare(store: Store, source: Source) -> Prepared:
    """Read all clips of `source` into the store.

    Raises:
        UserError: a clip that cannot be read, or a split without clips.
    """

    def write(folder: Path) -> None:
        records, start, shape = [], 0, [0, 0, 0]
        with (folder / FRAMES).open("wb") as file:
            for clip in source.read():
                file.write(clip.frames.tobytes())
                count, *shape = clip.frames.shape
                records.append(
                    {"id": clip.id, "label": clip.label, "split": clip.split, "start": start, "frames": count}
                )
                start += count
        source.check_splits({record["split"] for record in records}, "clips")
        write_jsonl(folder / "records.jsonl", records)
        write_json(folder / "facts.json", {"shape": list(shape)})

    return store.prepare(NAME, source.spec, write)


def batches(prepared: Prepared, *, window: int | None, frames: int, seed: int, where: str) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        window: frames of a piece that clips are cut into, for which their classes do not matter; a rest and clips that
            are shorter are left out, and the latter named in the notes. None: clips stay whole, and have classes.
        frames: in a batch, padding included.
        seed: of the order.
        where: what the errors call the data.

    Raises:
        UserError: no two classes, a class of val or test that train has not, or a split of which nothing is left.
    """
    records = list(read_jsonl(prepared.folder / "records.jsonl"))
    channels, size, _ = shape = read_json(prepared.folder / "facts.json")["shape"]
    stored = np.memmap(prepared.folder / FRAMES, np.uint8, "r").reshape(-1, *shape)
    classes = [] if window else _classes(records)
    short = [record for record in records if window and record["frames"] < window]
    splits = {}
    for split in SPLITS:
        rows = [piece for record in records if record["split"] == split for piece in _pieces(record, window)]
        if not rows:
            raise UserError(f"{where}: in the {split} split no clip has {window} frames; see data.horizon")
        clips = _Clips(stored, rows, classes)
        lengths = [row["frames"] for row in rows]
        splits[split] = loader(clips, lengths, frames, collate, seed=seed, shuffle=split == "train")
    facts = {"classes": classes, "channels": channels, "size": size}
    notes = tuple(_short_note(short, window))
    return Data(**splits, facts=facts, digest=prepared.digest, split=prepared.spec["split"], notes=notes)


def _classes(records: Sequence[Record]) -> list[str]:
    classes = sorted({record["label"] for record in records if record["split"] == "train"})
    if len(classes) < 2:
        raise UserError(f"the training clips have {len(classes)} class; two are needed, or set task=predict_frames")
    for record in records:
        if record["label"] not in classes:
            raise UserError(
                f"{record['id']}: is of class {record['label']!r}, which no training clip has; "
                f"{did_you_mean(record['label'], classes)}"
            )
    return classes


def _pieces(record: Record, window: int | None) -> Iterator[Record]:
    if window is None:
        yield record
        return
    count = record["frames"] // window
    for number in range(count):
        name = (
            record["id"] if count == 1 else f"{record['id']}, frames {number * window + 1} to {(number + 1) * window}"
        )
        yield record | {"id": name, "start": record["start"] + number * window, "frames": window}


def _short_note(short: Sequence[Record], window: int | None) -> Iterator[str]:
    if short:
        names = ", ".join(f"{record['id']} ({record['frames']})" for record in short[:3])
        yield f"left out, fewer than {window} frames: {len(short)} clips: {names}{', ...' if short[3:] else ''}"


class _Clips(Dataset[tuple[Record, Tensor, int]]):
    """(record, frames [T, C, Y, X] of uint8, number of the class) of each clip, read as they are asked for."""

    def __init__(self, frames: NDArray[np.uint8], rows: list[Record], classes: list[str]) -> None:
        self._frames, self._rows, self._classes = frames, rows, classes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Record, Tensor, int]:
        row = self._rows[index]
        frames = torch.from_numpy(self._frames[row["start"] : row["start"] + row["frames"]].copy())
        return row, frames, self._classes.index(row["label"]) if self._classes else 0


def collate(items: list[tuple[Record, Tensor, int]]) -> Batch:
    """Clips to a batch, time first."""
    records, clips, labels = zip(*items, strict=True)
    frames, lengths = pad(clips)
    shown = [{"id": record["id"], "label": record["label"]} for record in records]
    return Batch(as_values(frames), lengths, torch.tensor(labels), shown)


def as_values(frames: Tensor) -> Tensor:
    """Frames of uint8 as values from 0 to 1."""
    return frames.float() / 255
