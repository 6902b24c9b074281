"""The user's own text: one UTF-8 file, or all *.txt files of a folder in the order of their names, of any size."""

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from apps.language.sources import SPLITS, Source, Split
from core.errors import UserError
from core.sequence.tokens import read_blocks

NEAR = 10_000
"""characters within which a cut is moved to the next line's beginning"""


def source(path: Path | None, held_out: float) -> Source:
    """The text at `path`; the last share `held_out` of it is not for training, its halves are val and test.

    Raises:
        UserError: no such file, none in the folder, or one that is no UTF-8 text.
    """
    paths = _find(path)
    digest, length = hashlib.sha256(), 0
    for block in _blocks(paths):
        digest.update(block.encode())
        length += len(block)
    shares = (0.0, 1 - held_out, 1 - held_out / 2, 1.0)
    cuts = _at_lines(paths, [round(length * share) for share in shares], length)
    rule = f"the last {held_out:g} of the text"
    spec = {"source": "file", "content": digest.hexdigest(), "cuts": cuts, "split": rule}
    return Source(spec, partial(_read, paths, cuts))


def _read(paths: list[Path], cuts: list[int], split: Split) -> Iterator[str]:
    number = SPLITS.index(split)
    start, end, at = cuts[number], cuts[number + 1], 0
    for block in _blocks(paths):
        if at + len(block) > start and at < end:
            yield block[max(start - at, 0) : end - at]
        at += len(block)


def _at_lines(paths: list[Path], cuts: list[int], length: int) -> list[int]:
    """The cuts, each moved behind the next line end where one is near."""
    moved: list[int] = []
    at, tail, rest = 0, "", cuts[1:-1]
    for block in chain(_blocks(paths), [" " * NEAR]):
        text, begin = tail + block, at - len(tail)
        while rest and rest[0] + NEAR <= begin + len(text):
            found = text.find("\n", rest[0] - begin, rest[0] - begin + NEAR)
            moved.append(begin + found + 1 if found >= 0 else rest[0])
            rest.pop(0)
        at += len(block)
        tail = text[-NEAR:]
    return [0, *(min(cut, length) for cut in moved), length]


def _blocks(paths: list[Path]) -> Iterator[str]:
    return chain.from_iterable(map(read_blocks, paths))


def _find(path: Path | None) -> list[Path]:
    if path is None:
        raise UserError("data.source=file: add --set data.path=FILE, a text file or a folder of *.txt files")
    if path.is_dir():
        found = sorted(path.glob("*.txt"))
        if not found:
            raise UserError(f"{path}: holds no *.txt files")
        return found
    if not path.is_file():
        raise UserError(f"data.path={path}: no such file or folder")
    return [path]
