"""From clips to batches: frames of one size are prepared once in the store, and batches are read from there.

A prepared set is one file of uint8 frames (`unroll.data.frames`), a record per clip, and the shape of a frame.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl, write_json, write_jsonl
from unroll.data.frames import FrameSequences, FrameWriter, Record, open_frames
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import UserError, did_you_mean, few
from unroll.sequence.batching import loader, pad

from .sources import Source

NAME = "video"
FRAMES, RECORDS, FACTS = "frames.u8", "records.jsonl", "facts.json"
"""the files of a prepared set"""


class Batch(NamedTuple):
    """Clips of similar length."""

    frames: Tensor
    """[T, B, C, Y, X], 0 to 1, zero beyond a clip's end"""
    lengths: Tensor
    """number of frames of each clip, [B]"""
    labels: Tensor
    """number of the class, [B]; 0 without classes"""
    records: list[Record]
    """for each clip: id, label, and the id of the whole clip that it was cut from"""


def prepare(store: Store, source: Source) -> Prepared:
    """Prepare the frames of all clips of `source` in the store.

    Raises:
        UserError: a clip that cannot be read, or a split without clips.
    """

    def write(folder: Path) -> None:
        records, shape = [], [0, 0, 0]
        with FrameWriter(folder / FRAMES, np.uint8) as file:
            for clip in source.read():
                records.append({"id": clip.id, "label": clip.label, "split": clip.split, **file.add(clip.frames)})
                shape = list(clip.frames.shape[1:])
        source.check_splits({record["split"] for record in records}, "clips")
        write_jsonl(folder / RECORDS, records)
        write_json(folder / FACTS, {"shape": shape})

    return store.prepare(NAME, source.spec, write)


def batches(prepared: Prepared, *, window: int | None, frames: int, seed: int, where: str) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        window: length of the pieces that clips are cut into, ignoring their classes. The rest of a clip is dropped, and
            shorter clips are left out and named in the notes. None: clips stay whole, and have classes.
        frames: frames per batch, padding included.
        seed: random seed of the order.
        where: name of the data in errors.

    Raises:
        UserError: fewer than two classes, a class of val or test that is not in train, or an empty split.
    """
    records = list(read_jsonl(prepared.folder / RECORDS))
    channels, size, _ = shape = read_json(prepared.folder / FACTS)["shape"]
    stored = open_frames(prepared.folder / FRAMES, np.uint8, shape)
    classes = [] if window else _classes(records)
    splits = {}
    for split in SPLITS:
        pieces = [piece for record in records if record["split"] == split for piece in _pieces(record, window)]
        if not pieces:
            raise UserError(f"{where}: in the {split} split no clip has {window} frames; see data.horizon")
        numbers = {label: number for number, label in enumerate(classes)}
        clips = FrameSequences(stored, [piece | {"class": numbers.get(piece["label"], 0)} for piece in pieces])
        splits[split] = loader(clips, clips.lengths, frames, collate, seed=seed, shuffle=split == "train")
    facts = {"classes": classes, "channels": channels, "size": size}
    notes = tuple(_short_note(records, window))
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
    """The windows of a clip, or the clip itself. "clip" names the clip: its windows are not independent samples."""
    record = record | {"clip": record["id"]}
    if window is None:
        yield record
        return
    count = record["frames"] // window
    for first in range(0, count * window, window):
        name = record["id"] if count == 1 else f"{record['id']}, frames {first + 1} to {first + window}"
        yield record | {"id": name, "start": record["start"] + first, "frames": window}


def _short_note(records: Sequence[Record], window: int | None) -> Iterator[str]:
    short = [f"{record['id']} ({record['frames']})" for record in records if window and record["frames"] < window]
    if short:
        yield f"left out, fewer than {window} frames: {len(short)} clips: {few(short)}"


def collate(clips: Sequence[tuple[Record, NDArray[np.uint8]]]) -> Batch:
    """A batch of clips, time first."""
    records = [{key: record[key] for key in ("id", "label", "clip")} for record, _ in clips]
    frames, lengths = pad([torch.from_numpy(frames) for _, frames in clips])
    return Batch(as_values(frames), lengths, torch.tensor([record["class"] for record, _ in clips]), records)


def as_values(frames: Tensor) -> Tensor:
    """uint8 frames as values from 0 to 1."""
    return frames.float() / 255
