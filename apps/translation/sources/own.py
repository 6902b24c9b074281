"""The user's own sentences: two line-aligned files, or a table of two columns."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unroll.data import tables
from unroll.data.files import sha256
from unroll.data.source import held_out
from unroll.data.text import read_lines as _lines
from unroll.errors import Notice, UserError

from . import Pair, Source
from .locales import Header

RULE = "by hash of the source sentence"
ROLES = ("source", "target")
SHARE = 0.05
"""of the distinct source sentences that go to val, and as many to test"""


def parallel(source: Path | None, target: Path | None, languages: tuple[str, str]) -> Source:
    """The pairs of two line-aligned files.

    Raises:
        UserError: a path is missing, or both files have the same content. What is wrong inside is found as they are
            read.
    """
    if source is None or target is None:
        raise UserError("data.source=parallel: add data.path=FILE (source) and data.target_path=FILE")
    for path, key in ((source, "data.path"), (target, "data.target_path")):
        if not path.is_file():
            raise UserError(f"{key}={path}: no such file")
    digests = [sha256(source), sha256(target)]
    if digests[0] == digests[1]:
        raise UserError(f"{source} and {target}: are the same text; give the translation as data.target_path")
    spec = {"source": "parallel", "languages": list(languages), "sha256": digests, "split": RULE}
    return Source(spec, partial(_read_parallel, source, target), languages=languages)


def table(path: Path | None, languages: tuple[str, str], kind: str = "tsv") -> Source:
    """The pairs of one table: a sentence, a tab, its translation; or columns by the names of their languages.

    Args:
        path: see `tables.read_table`; CSV needs a header.
        languages: from which into which.
        kind: the user's value of data.source.

    Raises:
        UserError: no such file. What is wrong inside is found as it is read.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; data.source={kind} needs data.path=FILE, two columns")
    spec: dict[str, Any] = {"source": kind, "languages": list(languages), "sha256": sha256(path), "split": RULE}
    spec["reader"] = tables.VERSION
    return Source(spec, partial(_read_table, path, languages), languages=languages)


def _read_parallel(source: Path, target: Path) -> Iterator[Pair]:
    yield from divided(list(aligned(source, target)), source)


def _read_table(path: Path, languages: tuple[str, str]) -> Iterator[Pair]:
    rows = list(read_pairs(path, languages))
    pairs = [_pair(where.rpartition(" ")[2], source, target) for where, source, target in rows]
    if pairs and all(pair.source == pair.target for pair in pairs):
        raise UserError(f"{path}: both columns are the same text; put the translation into the second one")
    yield from divided(pairs, path)


def read_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """("FILE, row N", sentence, translation) of a table, with or without a header; a `Notice` says so if there is one.

    Raises:
        UserError: as `tables.read_table` and `Table.pick`; a header of other languages.
    """
    header = Header(languages)
    content = tables.read_table(path, names=ROLES, header=header.names)
    if not content.header and content.mark != "\t":
        # Without a header, what looks like a column separator may be a comma or a semicolon in a sentence.
        hint = "add a header, or write a tab between the two"
        raise UserError(tables.missing_columns(path, header.known, content.rows[0].values, hint))
    content = replace(content, columns=header.bare(content.columns))
    header.check(path, content.columns)
    if content.header and content.mark:
        warnings.warn(f"{path}: row 1 ({', '.join(content.columns)}) is read as the header", Notice, stacklevel=2)
    if content.place("split") is not None:
        said = "its column split is not read, all rows are taken alike; give each split as a file of its own"
        warnings.warn(f"{path}: {said}", Notice, stacklevel=2)
    for where, row in content.pick(header.known):
        yield where, row["source"], row["target"]


def aligned(source: Path, target: Path) -> Iterator[Pair]:
    """The pairs of two files line by line, empty lines included, so that what follows stays aligned.

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
    """The lines of a file, plain or gzipped, or of standard input (`-`): one sentence each.

    Only line feeds end a line: other characters that Unicode counts as line ends may occur inside a sentence.

    Raises:
        UserError: it cannot be read, or is not UTF-8 (names the line and the byte).
    """
    return _lines(path, only_feeds=True)


def divided(pairs: Sequence[Pair], path: Path) -> list[Pair]:
    """A twentieth of the distinct source sentences each to val and test, by their hashes, at least one.

    Raises:
        UserError: fewer than three distinct source sentences.
    """
    splits = held_out((pair.source for pair in pairs if pair.source), SHARE)
    if len(splits) < 3:
        raise UserError(f"{path}: has {len(splits)} different source sentences; at least three are needed")
    return [pair._replace(split=splits.get(pair.source, "train")) for pair in pairs]
