"""Where pictures and their classes come from, and which of them are held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import copies, folders, idx, images, source
from unroll.data.fetch import RemoteFile
from unroll.data.files import sha256
from unroll.data.source import Split
from unroll.data.store import Store
from unroll.errors import UserError

DIGITS = tuple("0123456789")
CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
HELD_OUT: dict[int, Split] = {1: "val", 2: "test", 7: "test"}
"""without published splits: of every ten pictures of a class, in order, the second is val, the third and the eighth
are test"""
BY_NUMBER = "by number within the class, modulo ten"
LAST = 5000
"""pictures at the end of MNIST's training files that are the val split"""
PARTS = {"images": 3, "labels": 1}
"""IDX files by name, and their number of dimensions"""

# By LeCun, Cortes and Burges; Fashion-MNIST (MIT licence) by Xiao, Rasul and Vollgraf.
PUBLISHED = {
    "mnist": (
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    # Checksums from tensorflow/datasets (url_checksums/fashion_mnist.txt).
    "fashion-mnist": (
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
}
Pixels = NDArray[np.uint8]


class Pictures(NamedTuple):
    """All pictures of a source."""

    pixels: Pixels
    """[N, height, width, channels], 0 to levels - 1"""
    labels: NDArray[np.int64]
    """number of the class, [N]"""
    splits: list[Split]
    ids: list[str]
    """human-readable: the file, or the number in the published data"""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Pictures]):
    """A set of pictures of one size."""

    classes: tuple[str, ...]
    levels: int
    """grey levels of a channel"""


def builtin() -> Source:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, 17 grey levels (the test set of UCI's optdigits)."""

    def read() -> Pictures:
        from sklearn.datasets import load_digits

        digits = load_digits()
        labels = digits.target.astype(np.int64)
        pixels = digits.images.astype(np.uint8)[..., None]
        return Pictures(pixels, labels, held_out(labels), [f"digit {number}" for number in range(len(labels))])

    return Source({"source": "builtin", "version": 1, "split": BY_NUMBER}, read, classes=DIGITS, levels=17)


def published(name: str, store: Store) -> Source:
    """MNIST or Fashion-MNIST, downloaded into `store` when first read. Val is the last 5,000 of the training files."""
    urls, sums = PUBLISHED[name]

    def read() -> Pictures:
        remote = [
            RemoteFile(f"{name}/{file}", tuple(f"{url}/{file}" for url in urls), sha) for file, sha in sums.items()
        ]
        paths = dict(zip(sums, store.fetch_all(remote, label=name), strict=True))
        return from_idx(paths)

    spec = {"source": name, "sha256": list(sums.values()), "split": "publisher's, the end of train is val"}
    return Source(spec, read, classes=DIGITS if name == "mnist" else CLOTHES, levels=256)


def from_idx(paths: dict[str, Path]) -> Pictures:
    """The pictures in MNIST's four files, by their published names.

    Raises:
        UserError: a file that is not IDX, different numbers of labels and pictures, or a label above 9.
    """
    parts = []
    for split in ("train", "t10k"):
        pixels, labels = (
            idx.read(paths[f"{split}-{part}-idx{extents}-ubyte.gz"], extents) for part, extents in PARTS.items()
        )
        where = paths[f"{split}-labels-idx1-ubyte.gz"]
        if len(pixels) != len(labels):
            raise UserError(f"{where}: {len(labels):,} labels for {len(pixels):,} pictures; are they of one set?")
        if labels.max(initial=0) > 9:
            raise UserError(f"{where}: label {labels.max()}, but there are ten classes, 0 to 9")
        parts.append((pixels[..., None], labels.astype(np.int64), [f"{split} {row}" for row in range(len(labels))]))
    training, testing = (len(labels) for _, labels, _ in parts)
    last = min(LAST, training // 10)
    counts: dict[Split, int] = {"train": training - last, "val": last, "test": testing}
    splits = [split for split, count in counts.items() for _ in range(count)]
    (first, labels, names), (second, more, others) = parts
    return Pictures(np.concatenate([first, second]), np.concatenate([labels, more]), splits, names + others)


def folder(path: Path | None, size: tuple[int, int], colour: bool) -> Source:
    """The user's pictures, a subfolder for each class, perhaps within splits: see `unroll.data.folders.layout`.

    Missing splits are drawn from train according to HELD_OUT.

    Raises:
        UserError: no folder, no classes, a class without pictures, or an ambiguous layout.
    """
    path = source.own_path(path, "folder", "FOLDER, a folder with a subfolder for each class")
    splits = folders.layout(path, images.SUFFIXES)
    found = list(_dealt(splits))
    classes = tuple(sorted({label for _, label, _ in found}))
    items = [copies.Item(str(file.relative_to(path)), split, label, sha256(file)) for file, label, split in found]
    content = source.content_digest((name, label, split, digest) for name, split, label, digest in items)
    spec = {"source": "folder", "size": list(size), "colour": colour, "content": content}
    spec["split"] = f"by folder, else {BY_NUMBER}"
    notes = (folders.described(path, splits, images.SUFFIXES), *copies.notes(items, "class"))
    read = partial(_load, path, found, classes, size, colour)
    return Source(spec, read, notes, classes=classes, levels=256)


def _dealt(splits: folders.Splits) -> Iterator[tuple[Path, str, Split]]:
    """Every picture with its class and split; missing splits are drawn from pictures without a split, or of train."""
    rule = {number: split for number, split in HELD_OUT.items() if split not in splits}
    for split, members in splits.items():
        if split in ("val", "test"):
            yield from ((member.path, member.label, split) for member in members)
            continue
        numbers = {label: number for number, label in enumerate(dict.fromkeys(member.label for member in members))}
        dealt = held_out(np.array([numbers[member.label] for member in members]), rule)
        yield from ((member.path, member.label, split) for member, split in zip(members, dealt, strict=True))


def _load(
    root: Path, found: list[tuple[Path, str, Split]], classes: tuple[str, ...], size: tuple[int, int], colour: bool
) -> Pictures:
    pixels = np.empty((len(found), *size, 3 if colour else 1), np.uint8)
    for row, (file, _, _) in enumerate(found):
        pixels[row] = images.pixels(images.load(file, "RGB" if colour else "L"), size).reshape(pixels.shape[1:])
    labels = np.array([classes.index(label) for _, label, _ in found])
    return Pictures(pixels, labels, [split for *_, split in found], [str(file.relative_to(root)) for file, *_ in found])


def held_out(labels: NDArray[np.int64], rule: dict[int, Split] = HELD_OUT) -> list[Split]:
    """The split of each picture, by its number modulo ten within its class, in the order of the pictures."""
    splits: list[Split] = ["train"] * len(labels)
    for label in np.unique(labels):
        for number, row in enumerate(np.flatnonzero(labels == label)):
            splits[row] = rule.get(number % 10, "train")
    return splits
