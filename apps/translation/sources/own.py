"""The user's own sentences: two files line by line, or one with two columns; plain or gz."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

from apps.translation.sources import Pair, Source, Split
from core.data.files import gunzip, sha256
from core.errors import UserError

RULE = "by hash of the source sentence"
SHARE = 0.05
"""of the distinct source sentences that go to val, and as many to test"""


def parallel(source: Path | None, target: Path | None, languages: tuple[str, str]) -> Source:
    """The pairs of two files with as many lines each.

    Raises:
        UserError: a path that is missing, twice the same file, or two files of the same content. What is wrong inside
            is found as they are read.
    """
    if source is None or target is None:
        raise UserError("data.source=parallel: add --set data.path=FILE (source) and --set data.target_path=FILE")
    for path, key in ((source, "data.path"), (target, "data.target_path")):
        if not path.is_file():
            raise UserError(f"{key}={path}: no such file")
    digests = [sha256(source), sha256(target)]
    if digests[0] == digests[1]:
        raise UserError(f"{source} and {target}: are the same text; give the translation as data.target_path")
    spec = {"source": "parallel", "languages": list(languages), "sha256": digests, "split": RULE}
    return Source(spec, languages, partial(_read_parallel, source, target))


def tsv(path: Path | None, languages: tuple[str, str]) -> Source:
    """The pairs of one file: a sentence, a tab, its translation.

    Raises:
        UserError: no such file. What is wrong inside is found as it is read.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; data.source=tsv needs --set data.path=FILE, two columns")
    spec = {"source": "tsv", "languages": list(languages), "sha256": sha256(path), "split": RULE}
    return Source(spec, languages, partial(_read_tsv, path))


def _read_parallel(source: Path, target: Path) -> Iterator[Pair]:
    yield from divided(list(aligned(source, target)), source)


def _read_tsv(path: Path) -> Iterator[Pair]:
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        parts = line.split("\t")
        if line.strip() and len(parts) != 2:
            raise UserError(
                f"{path}, line {number}: has {len(parts)} columns, not two; write a sentence, a tab, its translation"
            )
        pairs.append(_pair(str(number), *(parts if line.strip() else ("", ""))))
    if pairs and all(pair.source == pair.target for pair in pairs):
        raise UserError(f"{path}: both columns are the same text; put the translation into the second one")
    yield from divided(pairs, path)


def aligned(source: Path, target: Path) -> Iterator[Pair]:
    """Line by line; empty lines are there as well, so that all that follow stay aligned.

    Raises:
        UserError: different numbers of lines, or a file that cannot be read.
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources):,} lines and {target} has {len(targets):,}: they are no translation line by "
            "line; find the line where they part"
        )
    for number, (a, b) in enumerate(zip(sources, targets, strict=True), start=1):
        yield _pair(str(number), a, b)


def _pair(id: str, source: str, target: str) -> Pair:
    return Pair(id, source.strip(), target.strip(), "train")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, plain or gz, or of standard input (`-`), without their ends.

    Only line feeds end a line: what else Unicode calls a line end may stand inside a sentence.

    Raises:
        UserError: it cannot be read, or is not UTF-8: with the line and its byte.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if content.startswith(b"\x1f\x8b"):
        content = b"".join(gunzip(path, BytesIO(content), len(content)))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line:,}, byte {error.start:,}: is not UTF-8; convert the file") from None
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def divided(pairs: Sequence[Pair], path: Path) -> list[Pair]:
    """A twentieth of the distinct source sentences each to val and test: those with the smallest hashes, at least one.

    Raises:
        UserError: fewer than three distinct source sentences.
    """
    distinct = sorted(
        {pair.source for pair in pairs if pair.source}, key=lambda text: hashlib.sha256(text.encode()).digest()
    )
    if len(distinct) < 3:
        raise UserError(f"{path}: has {len(distinct)} different source sentences; at least three are needed")
    count = max(1, round(SHARE * len(distinct)))
    split: dict[str, Split] = dict.fromkeys(distinct[:count], "test")
    split |= dict.fromkeys(distinct[count : 2 * count], "val")
    return [pair._replace(split=split.get(pair.source, "train")) for pair in pairs]
