"""The user's own pictures: a CSV file with the columns `path` and `caption`, one row for each caption.

`path` is relative to the CSV file's folder. A column `split` (train, val or test) may be there; without it a tenth of
the pictures each becomes val and test.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

from apps.captioning.sources import SPLITS, Picture, Source, Split
from core.data.files import sha256
from core.errors import UserError


def source(path: Path | None) -> Source:
    """The pictures that the CSV file at `path` names (a folder: its only CSV file).

    Raises:
        UserError: no such file, not one CSV file, missing columns, or a row whose picture is missing or whose split is
            unknown. All rows are checked before any picture is read.
    """
    table = _find(path)
    pictures = _grouped(table, _rows(table))
    content = hashlib.sha256()
    for picture in pictures:
        content.update(repr((picture.id, picture.split, picture.captions, sha256(cast(Path, picture.image)))).encode())
    spec = {
        "source": "folder",
        "content": content.hexdigest(),
        "split": "by its column split, else by hash of the name",
    }
    return Source(spec, partial(iter, pictures))


def _find(path: Path | None) -> Path:
    if path is None:
        raise UserError(
            "data.source=folder: add --set data.path=FOLDER, a folder with a CSV file (columns path,caption)"
        )
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        if len(found) != 1:
            raise UserError(f"{path}: holds {len(found)} CSV files instead of one; set data.path to the file itself")
        return found[0]
    if not path.is_file():
        raise UserError(f"data.path={path}: no such file or folder")
    return path


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(row as a spreadsheet counts it, values by column)."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        reader = csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        columns = [name.strip() for name in next(reader, [])]
        for wanted in ("path", "caption"):
            if wanted not in columns:
                raise UserError(f"{table}: has no column {wanted}; its columns: {', '.join(columns) or 'none'}")
        for number, values in enumerate(reader, start=2):
            if len(values) not in (0, len(columns)):
                raise UserError(f"{table}, row {number}: has {len(values)} values for {len(columns)} columns")
            if values:
                yield number, {name: value.strip() for name, value in zip(columns, values, strict=True)}
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 text (byte {error.object[error.start]:#04x}); convert it") from error
    except csv.Error as error:
        raise UserError(f"{table}: is not CSV ({error}, after line {reader.line_num})") from error
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror})") from error


def _grouped(table: Path, rows: Iterator[tuple[int, dict[str, str]]]) -> list[Picture]:
    """A picture for each path, with the captions of all its rows."""
    pictures: dict[str, Picture] = {}
    split_column = False
    for number, row in rows:
        name, where = row["path"], f"{table}, row {number}"
        split_column = "split" in row
        split = row.get("split") or "train"
        if not name or not (table.parent / name).is_file():
            raise UserError(f"{where}: no such file: {table.parent / name}" if name else f"{where}: its path is empty")
        if split not in SPLITS:
            raise UserError(f"{where}: split {split!r}: write one of {', '.join(SPLITS)}")
        known = pictures.setdefault(name, Picture(name, split, (), table.parent / name, where=where))
        if known.split != split:
            raise UserError(f"{where}: {name} is in {split} here and in {known.split} above; put it into one split")
        pictures[name] = known._replace(captions=(*known.captions, row["caption"]))
    if not pictures:
        raise UserError(f"{table}: has no rows below its header")
    return list(pictures.values()) if split_column else _with_splits(list(pictures.values()))


def _with_splits(pictures: list[Picture]) -> list[Picture]:
    """A tenth each to val and test, at least one: those whose names have the smallest hashes, whatever their order."""
    share = max(1, round(0.1 * len(pictures)))
    ranked = sorted(pictures, key=lambda picture: hashlib.sha256(picture.id.encode()).digest())
    splits: list[Split] = ["test"] * share + ["val"] * share
    chosen = {picture.id: split for picture, split in zip(ranked, splits, strict=False)}
    return [picture._replace(split=chosen.get(picture.id, "train")) for picture in pictures]
