"""The user's own text: one UTF-8 file, or the text files of a folder in the order of their names, of any size."""

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from unroll.data import copies, folders, tables
from unroll.data.source import SPLITS, Split, content_digest, own_path
from unroll.errors import UserError
from unroll.sequence.tokens import read_blocks

from . import Documents, Source

NEAR = 10_000
"""characters within which a cut moves to the beginning of the next line"""
ENDINGS = frozenset(
    f".{ending}" for ending in (
        "txt", "text", "md", "markdown", "rst", "html", "htm", "tex", "org", "adoc", "py", "c", "h", "cpp", "hpp", "cs",
        "java", "js", "ts", "go", "rs", "rb", "php", "sh", "sql", "css",
    )
)  # fmt: skip
"""of the files in a folder that are read, without conversion"""


def source(path: Path | None, held_out: float) -> Source:
    """The text at `path`; its last part, a fraction of `held_out`, is halved into val and test.

    Raises:
        UserError: no such file, no text file in the folder, or a file that is not UTF-8 text.
    """
    root, paths, notes = _find(path)
    digest, length, starts = hashlib.sha256(), 0, dict[str, int]()
    for file, block in _texts(paths):
        starts.setdefault(str(file.relative_to(root)), length)
        digest.update(block.encode())
        length += len(block)
    shares = (0.0, 1 - held_out, 1 - held_out / 2, 1.0)
    cuts = _at_lines(paths, [round(length * share) for share in shares], length)
    rule = f"the last {held_out:g} of the text"
    spec = {"source": "file", "content": digest.hexdigest(), "cuts": cuts, "split": rule}
    if len(starts) > 1:
        spec["documents"] = content_digest([starts])
    return Source(spec, partial(_read, paths, cuts), notes, partial(_documents, starts, cuts))


def _read(paths: list[Path], cuts: list[int], split: Split) -> Iterator[str]:
    number = SPLITS.index(split)
    start, end, at = cuts[number], cuts[number + 1], 0
    for _, block in _texts(paths):
        if at + len(block) > start and at < end:
            yield block[max(start - at, 0) : end - at]
        at += len(block)


def _documents(starts: dict[str, int], cuts: list[int], split: Split) -> Documents:
    """The files that a split has text from."""
    number = SPLITS.index(split)
    start, end = cuts[number], cuts[number + 1]
    ends = [*list(starts.values())[1:], cuts[-1]]
    files = zip(starts.items(), ends, strict=True)
    return [(name, max(begin - start, 0)) for (name, begin), last in files if last > start and begin < end]


def _at_lines(paths: list[Path], cuts: list[int], length: int) -> list[int]:
    """The cuts, each moved past the next line end if one is near."""
    moved: list[int] = []
    at, tail, rest = 0, "", cuts[1:-1]
    for _, block in chain(_texts(paths), [(None, " " * NEAR)]):
        text, begin = tail + block, at - len(tail)
        while rest and rest[0] + NEAR <= begin + len(text):
            found = text.find("\n", rest[0] - begin, rest[0] - begin + NEAR)
            moved.append(begin + found + 1 if found >= 0 else rest[0])
            rest.pop(0)
        at += len(block)
        tail = text[-NEAR:]
    return [0, *(min(cut, length) for cut in moved), length]


def _texts(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """(file, a piece of it); a missing end of line is added to a file, so that no word continues in the next one."""
    for number, path in enumerate(paths, start=1):
        block = ""
        for block in read_blocks(path):
            yield path, block
        if number < len(paths) and not block.endswith("\n"):
            yield path, "\n"


def _find(path: Path | None) -> tuple[Path, list[Path], tuple[str, ...]]:
    """(the folder, the files, notes on them)."""
    path = own_path(path, "file", "FILE, a text file or a folder of text files")
    if not path.exists():
        raise UserError(f"data.path={path}: no such file or folder")
    if not path.is_dir():
        return path.parent, [path], tuple(_table_note(path))
    there = sorted(folders.walk(path), key=lambda file: file.relative_to(path).parts)
    found = [file for file in there if file.suffix.lower() in ENDINGS and file.stat().st_size]
    for file in found:
        folders.check_name(file)
    if not found:
        known = ", ".join(sorted(ENDINGS))
        raise UserError(
            f"{path}: holds no text file ({known}); it holds {folders.kinds(there) or 'nothing'}; name one file"
        )
    others = folders.kinds([file for file in there if file not in set(found)])
    said = f"{path}: {len(found):,} text files ({folders.kinds(found)})" + (
        f"; passed over: {others}" if others else ""
    )
    kept, twice = copies.first_of_each(found)
    return path, kept, (said, *copies.once_note(path, twice))


def _table_note(path: Path) -> Iterator[str]:
    if path.suffix.lower() in tables.ENDINGS:
        yield (
            f"{path}: is read as it stands, with what is between its values and the names of its columns; to train on "
            "the text of one column, save that as a text file"
        )
