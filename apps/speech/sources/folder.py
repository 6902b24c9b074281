"""The user's own recordings: a CSV file with the columns `path` and `text`, and the audio files that it names.

`path` is relative to the CSV file's folder. Two more columns may be there: `split` (train, val or test) and `speaker`.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from apps.speech import audio
from apps.speech.sources import SPLITS, Source, Split, Utterance
from core.data.files import sha256
from core.errors import UserError

SHARE = 0.1
"""of the rows that become val, and as many test, where the file has no column `split`"""


@dataclass(frozen=True)
class _Row:
    name: str
    """of the audio file, as in the table"""
    path: Path
    text: str
    speaker: str
    split: str


def source(path: Path | None, rate: int) -> Source:
    """The recordings that the CSV file at `path` names (a folder: its only CSV file).

    Raises:
        UserError: no such file, not one CSV file, missing columns, or a row whose recording is missing, whose text is
            empty, or whose split is unknown. All rows are checked before any recording is read.
    """
    table = _find(path)
    rows = _read_table(table)
    content = hashlib.sha256()
    for row in rows:
        content.update(repr((row.name, row.text, row.speaker, row.split, sha256(row.path))).encode())
    rule = "by its column split, else by hash of the name"
    spec = {"source": "folder", "rate": rate, "content": content.hexdigest(), "split": rule}
    return Source(spec, partial(_read, rows, rate))


def _read(rows: list[_Row], rate: int) -> Iterator[Utterance]:
    for row in rows:
        yield Utterance(row.name, row.text, row.speaker, cast(Split, row.split), audio.read(row.path, rate))


def _find(path: Path | None) -> Path:
    if path is None:
        raise UserError("data.source=folder: add --set data.path=FOLDER, a folder with a CSV file (columns path,text)")
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        if len(found) != 1:
            raise UserError(f"{path}: holds {len(found)} CSV files instead of one; set data.path to the file itself")
        return found[0]
    if not path.is_file():
        raise UserError(f"data.path={path}: no such file or folder")
    return path


def _read_table(table: Path) -> list[_Row]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        reader = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check_columns(table, columns)
        # Row 1 is the header, as in a spreadsheet.
        rows = [_row(table, number, values) for number, values in enumerate(reader, start=2)]
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 text (byte {error.object[error.start]:#04x}); convert it") from error
    except csv.Error as error:
        raise UserError(f"{table}: is not CSV ({error}, after line {reader.line_num})") from error
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror})") from error
    if not rows:
        raise UserError(f"{table}: has no rows below its header")
    return rows if "split" in columns else _with_splits(rows)


def _check_columns(table: Path, columns: list[str]) -> None:
    missing = [name for name in ("path", "text") if name not in columns]
    if missing:
        there = ", ".join(columns) or "none"
        raise UserError(f"{table}: has no column {' and no column '.join(missing)}; its columns: {there}")


def _row(table: Path, number: int, values: dict[str, str | None]) -> _Row:
    where = f"{table}, row {number}"
    name, text = ((values[column] or "").strip() for column in ("path", "text"))
    split = (values.get("split") or "train").strip()
    path = table.parent / name
    if not name or not path.is_file():
        raise UserError(f"{where}: no such file: {path}" if name else f"{where}: its path is empty")
    if not text:
        raise UserError(f"{where}: {name} has no text")
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r}: write one of {', '.join(SPLITS)}")
    return _Row(name, path, " ".join(text.split()), (values.get("speaker") or "").strip(), split)


def _with_splits(rows: list[_Row]) -> list[_Row]:
    """A tenth each to val and test, at least one: those whose names have the smallest hashes, whatever their order."""
    share = max(1, round(SHARE * len(rows)))
    ranked = sorted(rows, key=lambda row: hashlib.sha256(row.name.encode()).digest())
    chosen = {row.name: "test" for row in ranked[:share]} | {row.name: "val" for row in ranked[share : 2 * share]}
    return [replace(row, split=chosen.get(row.name, "train")) for row in rows]
