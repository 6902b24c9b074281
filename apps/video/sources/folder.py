"""The user's clips: a subfolder for each class, with video files or folders of numbered frames in it.

The classes may be in folders of splits: see `unroll.data.folders.layout`. For a missing split a tenth of each class is
drawn.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

from unroll.data import copies, folders
from unroll.data.files import sha256
from unroll.data.folders import Labelled
from unroll.data.source import SPLITS, Split, by_hash, content_digest, own_path
from unroll.errors import UserError

from .. import clips
from . import Clip, Source

SHARE = 0.1
"""fraction of the clips of a class that become val, and as many test, if the folder has no such split"""


def source(path: Path | None, size: int, channels: int, every: int, *, labelled: bool = True) -> Source:
    """The clips below the folder `path`.

    Args:
        path: the folder.
        size, channels, every: of `clips.read`.
        labelled: False: subfolders are not classes, and clips may be at any depth.

    Raises:
        UserError: no such folder, a folder without frames, a picture that belongs to no clip, or a class with too few
            clips. Errors within a clip are found when it is read.
    """
    path = own_path(path, "folder", "FOLDER, a folder with a subfolder for each class")
    files = folders.layout(path, clips.VIDEOS | clips.PICTURES, labelled=labelled)
    given: folders.Splits = {name: _clips(members) for name, members in files.items()}
    _refuse_empty(path, given)
    split, said = _split(path, given), folders.described(path, given, clips.VIDEOS | clips.PICTURES)
    content, items = [], []
    for name, listed in split.items():
        for clip in listed:
            frames = [clip.path] if clip.path.is_file() else folders.files(clip.path, clips.PICTURES)
            sums = [(str(file.relative_to(path)), sha256(file)) for file in frames]
            content.append((name, clip.label, sums))
            frames_only = repr([digest for _, digest in sums])
            items.append(copies.Item(str(clip.path.relative_to(path)), name, clip.label, frames_only))
    spec = {"source": "folder", "size": size, "channels": channels, "every": every, "content": content_digest(content)}
    # Version 2: rotation flags are obeyed.
    spec |= {"split": "by folder, else by hash of the name", "version": 2}
    return Source(spec, partial(_read, path, split, size, channels, every), (said, *copies.notes(items, "class")))


def _read(root: Path, split: dict[Split, list[Labelled]], size: int, channels: int, every: int) -> Iterator[Clip]:
    for name, listed in split.items():
        for clip in listed:
            frames = clips.read(clip.path, size, channels, every)
            yield Clip(str(clip.path.relative_to(root)), clip.label, name, frames)


def _refuse_empty(root: Path, given: folders.Splits) -> None:
    filled = {parent for part in given.values() for clip in part for parent in (clip.path, *clip.path.parents)}
    for folder in folders.below(root):
        if folder not in filled:
            raise UserError(f"{folder}: holds no frames; remove it, or put the frames of the clip into it")


def _split(root: Path, given: folders.Splits) -> dict[Split, list[Labelled]]:
    """Every clip in its split; missing splits are drawn from the clips without a split, or from train."""
    whole = given.get(None) or given["train"]
    dealt: dict[Split, list[Labelled]] = _dealt(root, whole) if len(given) < len(SPLITS) else {"train": whole}
    found: dict[Split, list[Labelled]] = {"train": [], "val": given.get("val", []), "test": given.get("test", [])}
    for split, part in dealt.items():
        # If a split is given, the clips drawn for it stay in train.
        place: Split = "train" if split in given else split
        found[place] += part
    return found


def _dealt(root: Path, listed: list[Labelled]) -> dict[Split, list[Labelled]]:
    """A tenth of each class, at least one clip, each for val and test: the names with the smallest hashes."""
    split: dict[Split, list[Labelled]] = {name: [] for name in SPLITS}
    for label, group in groupby(sorted(listed, key=lambda clip: clip.label), key=lambda clip: clip.label):
        ranked = sorted(group, key=lambda clip: by_hash(clip.path.name))
        if len(ranked) < 3:
            raise UserError(f"{root / label}: holds {len(ranked)} clips; a class needs three, one for each split")
        share = max(1, round(SHARE * len(ranked)))
        split["test"] += ranked[:share]
        split["val"] += ranked[share : 2 * share]
        split["train"] += ranked[2 * share :]
    return split


def _clips(members: list[Labelled]) -> list[Labelled]:
    """From files to clips, ordered by path: video files, and folders of frames."""
    found = {}
    for file in members:
        whole = file.path.suffix.lower() in clips.VIDEOS
        if not whole and file.path.parent == file.folder:
            raise UserError(
                f"{file.folder}: holds pictures beside its clips; put the frames of each clip into its own folder"
            )
        path = file.path if whole else file.path.parent
        found[path] = replace(file, path=path)
    return list(found.values())
