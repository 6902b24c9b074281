"""Flickr8k, Flickr30k and COCO, from the annotation files of their publishers. Nothing is downloaded: whoever uses the
pictures has to accept their terms of use first.

The folder data.path holds one of:
    dataset_NAME.json                 Karpathy and Fei-Fei's file (2015), whose splits most papers use, for all three
    flickr8k: Flickr8k.token.txt, Flickr_8k.trainImages.txt, Flickr_8k.devImages.txt, Flickr_8k.testImages.txt
    flickr30k: results_20130124.token, and train.txt, val.txt, test.txt (of Flickr30k Entities)
    coco: captions_train2017.json, captions_val2017.json (or 2014), also in a subfolder annotations
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from unroll.data.files import read_json, sha256
from unroll.data.source import SPLITS, Split, by_hash
from unroll.data.text import read_lines
from unroll.errors import UserError

from . import Picture, Source

Name = Literal["flickr8k", "flickr30k", "coco"]
FLICKR: dict[str, tuple[str, dict[Split, str]]] = {
    "flickr8k": (
        "Flickr8k.token.txt",
        {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"},
    ),
    "flickr30k": ("results_20130124.token", {"train": "train.txt", "val": "val.txt", "test": "test.txt"}),
}
"""(file of captions, lists of the pictures of each split)"""
COCO_VAL = 5000
"""pictures of COCO's train that become val, since its own val, whose captions are public, is test; at most a tenth"""
Read = Callable[[], Iterator[tuple[str, Split, tuple[str, ...]]]]
"""-> (file of the picture, split, captions)"""


def source(name: Name, path: Path | None, images: Path | None) -> Source:
    """The pictures that the annotation files in `path` name, from the folder `images` (None: `path`).

    Raises:
        UserError: a folder or an annotation file is missing. The rest is found as the pictures are read.
    """
    if path is None or not path.is_dir():
        raise UserError(f"data.path={path}: no such folder; data.source={name} needs the one with its annotation files")
    images = images or path
    if not images.is_dir():
        raise UserError(f"data.images={images}: no such folder; name the one with the pictures of {name}")
    files, read, rule = _reader(name, path)
    spec: dict[str, Any] = {"source": name, "annotations": {file.name: sha256(file) for file in files}, "split": rule}
    return Source(spec, partial(_pictures, read, images, files[0]))


def _pictures(read: Read, images: Path, table: Path) -> Iterator[Picture]:
    for name, split, captions in read():
        # COCO's pictures lie in a folder for each of its splits.
        found = next((path for path in (images / name, images / Path(name).name) if path.is_file()), None)
        if found is None:
            raise UserError(f"{table}: its picture {name} is not in {images}; complete it, or set data.images")
        yield Picture(Path(name).name, split, captions, found, where=str(table))


def _reader(name: Name, path: Path) -> tuple[list[Path], Read, str]:
    """(files to read, function that reads them, rule of their splits)."""
    karpathy = path / f"dataset_{name}.json"
    if karpathy.is_file():
        return [karpathy], partial(_karpathy, karpathy), "Karpathy's"
    if name == "coco":
        train, val = (_coco_file(path, split) for split in ("train", "val"))
        return [train, val], partial(_coco, train, val), "publisher's, val by hash of the name"
    tokens, lists = FLICKR[name]
    files = [path / file for file in (tokens, *lists.values())]
    for file in files:
        if not file.is_file():
            other = "; with captions.txt alone, set data.source=folder" if (path / "captions.txt").is_file() else ""
            raise UserError(f"{path}: has neither {karpathy.name} nor {file.name}; data.path names their folder{other}")
    return files, partial(_flickr, files[0], dict(zip(lists, files[1:], strict=True))), "publisher's"


def _flickr(tokens: Path, lists: dict[Split, Path]) -> Iterator[tuple[str, Split, tuple[str, ...]]]:
    """Lines "picture.jpg#0<tab>caption", and a list of pictures for each split, with or without ".jpg"."""
    captions: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(_lines(tokens), start=1):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise UserError(f"{tokens}, line {number}: has no tab between picture and caption")
        captions[name.rpartition("#")[0]].append(caption)
    for split, file in lists.items():
        for number, line in enumerate(_lines(file), start=1):
            name = line if Path(line).suffix else f"{line}.jpg"
            if name not in captions:
                raise UserError(f"{file}, line {number}: {name} has no caption in {tokens.name}")
            yield name, split, tuple(captions[name])


def _karpathy(file: Path) -> Iterator[tuple[str, Split, tuple[str, ...]]]:
    """`restval` is the part of COCO's val that Karpathy's split trains on."""
    with_fields = _fields(file, "images", "filename", "split", "sentences")
    for number, image in enumerate(with_fields):
        split = "train" if image["split"] == "restval" else image["split"]
        if split not in SPLITS:
            raise UserError(f"{file}, image {number}: split {split!r} is none of {', '.join(SPLITS)}, restval")
        name = str(Path(image.get("filepath", "")) / image["filename"])
        yield name, split, tuple(sentence["raw"] for sentence in image["sentences"])


def _coco(train: Path, val: Path) -> Iterator[tuple[str, Split, tuple[str, ...]]]:
    for file in (train, val):
        captions: dict[int, list[str]] = defaultdict(list)
        for annotation in _fields(file, "annotations", "image_id", "caption"):
            captions[annotation["image_id"]].append(annotation["caption"])
        names = [
            (image["file_name"], tuple(captions[image["id"]])) for image in _fields(file, "images", "id", "file_name")
        ]
        ranked = sorted(names, key=lambda entry: by_hash(entry[0]))
        held = {name for name, _ in ranked[: min(COCO_VAL, len(ranked) // 10 or 1)]} if file == train else set()
        for name, texts in names:
            yield name, "test" if file == val else "val" if name in held else "train", texts


def _coco_file(path: Path, split: str) -> Path:
    names = [f"captions_{split}{year}.json" for year in (2017, 2014)]
    for file in (folder / name for folder in (path, path / "annotations") for name in names):
        if file.is_file():
            return file
    raise UserError(f"{path}: has neither dataset_coco.json nor {names[0]}; data.path names their folder")


def _fields(file: Path, key: str, *fields: str) -> list[dict[str, Any]]:
    """The list under `key`, each entry with these fields."""
    content = read_json(file)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{file}: has no list {key!r}; is it the publisher's file of captions?")
    for number, entry in enumerate(entries):
        missing = [field for field in fields if field not in entry]
        if missing:
            raise UserError(f"{file}: entry {number} of {key!r} has no {missing[0]!r}")
    return entries


def _lines(file: Path) -> list[str]:
    return [line for line in read_lines(file) if line.strip()]
