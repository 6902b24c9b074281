"""The user's own clips: a subfolder for each class, in it video files, or folders of numbered frames.

With folders `train` and `test` (and `val`) at the top, each holding the classes, that is the split. Otherwise a tenth
of each class is test and as much val.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from apps.video import clips
from apps.video.sources import SPLITS, Clip, Source, Split
from core.data import images
from core.data.files import sha256
from core.errors import UserError

SHARE = 0.1
"""of the clips of a class that become val, and as many test, where the folder has no split of its own"""


class _Listed(NamedTuple):
    path: Path
    label: str


def source(path: Path | None, size: int, channels: int, every: int, *, labelled: bool = True) -> Source:
    """The clips below the folder `path`.

    Args:
        path: the folder.
        size, channels, every: of `clips.read`.
        labelled: False: subfolders are no classes, and clips may lie at any depth.

    Raises:
        UserError: no such folder, a folder without frames, a picture that belongs to no clip, or a class with too few
            clips. What is wrong within a clip is found when it is read.
    """
    if path is None:
        raise UserError("data.source=folder: add --set data.path=FOLDER, a folder with a subfolder for each class")
    split = _split(path, labelled)
    content = hashlib.sha256()
    for name, listed in split.items():
        for clip in listed:
            files = [clip.path] if clip.path.is_file() else images.files(clip.path, clips.PICTURES)
            sums = [(str(file.relative_to(path)), sha256(file)) for file in files]
            content.update(repr((name, clip.label, sums)).encode())
    spec = {"source": "folder", "size": size, "channels": channels, "every": every, "content": content.hexdigest()}
    spec["split"] = "by folder, else by hash of the name"
    return Source(spec, partial(_read, path, split, size, channels, every))


def _read(root: Path, split: dict[Split, list[_Listed]], size: int, channels: int, every: int) -> Iterator[Clip]:
    for name, listed in split.items():
        for path, label in listed:
            yield Clip(str(path.relative_to(root)), label, name, clips.read(path, size, channels, every))


def _split(root: Path, labelled: bool) -> dict[Split, list[_Listed]]:
    if not ((root / "train").is_dir() and (root / "test").is_dir()):
        return _dealt(root, _listed(root, labelled))
    given = {name: _listed(root / name, labelled) for name in SPLITS if (root / name).is_dir()}
    if "val" not in given:
        # One part for val, none for test: that is given.
        dealt = _dealt(root / "train", given["train"])
        given |= {"train": dealt["train"] + dealt["test"], "val": dealt["val"]}
    return {name: given[name] for name in SPLITS}


def _dealt(root: Path, listed: list[_Listed]) -> dict[Split, list[_Listed]]:
    """A tenth of each class, at least one clip, for val and for test: the names with the smallest hashes."""
    split: dict[Split, list[_Listed]] = {name: [] for name in SPLITS}
    for label, group in groupby(sorted(listed, key=lambda clip: clip.label), key=lambda clip: clip.label):
        ranked = sorted(group, key=lambda clip: hashlib.sha256(clip.path.name.encode()).digest())
        if len(ranked) < 3:
            raise UserError(f"{root / label}: holds {len(ranked)} clips; a class needs three, one for each split")
        share = max(1, round(SHARE * len(ranked)))
        split["test"] += ranked[:share]
        split["val"] += ranked[share : 2 * share]
        split["train"] += ranked[2 * share :]
    return split


def _listed(folder: Path, labelled: bool) -> list[_Listed]:
    """The clips of a folder, ordered by path: video files, and folders that hold frames."""
    endings = clips.VIDEOS | clips.PICTURES
    files = images.classes(folder, endings) if labelled else [(path, "") for path in images.files(folder, endings)]
    found = {path if path.suffix.lower() in clips.VIDEOS else path.parent: label for path, label in files}
    for path, label in found.items():
        if path in (folder, folder / label):
            raise UserError(f"{path}: holds pictures beside its clips; put the frames of each clip into its own folder")
    filled = {parent for path in found for parent in (path, *path.parents)}
    for empty in sorted(set(folder.rglob("*/")) - filled):
        if not any(part.startswith(".") for part in empty.relative_to(folder).parts):
            raise UserError(f"{empty}: holds no frames; remove it, or put the frames of the clip into it")
    return [_Listed(path, label) for path, label in found.items()]
