"""The user's own recordings: a table with the columns `path` and `text`, and the audio files that it names.

`path` is relative to the table's folder. Two more columns may be there: `split` (train, val or test) and `speaker`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from apps.speech import audio
from apps.speech.sources import SPLITS, Source, Split, Utterance
from core.data import tables
from core.data.files import sha256
from core.errors import UserError

COLUMNS = {
    "path": ("file", "file_name", "audio", "audio_file", "audio_path", "audio_filepath", "wav", "wav_filename"),
    "text": ("transcript", "transcription", "sentence", "utterance"),
}
MORE = {"split": (), "speaker": ("speaker_id", "client_id")}
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
    """The recordings that the table at `path` names (a folder: its only table).

    Raises:
        UserError: no such file, not one table, missing columns, or a row whose recording is missing, whose text is
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
        raise UserError("data.source=folder: add --set data.path=FOLDER, a folder with a table (columns path,text)")
    if path.is_dir():
        return tables.only_table(path)
    if not path.is_file():
        raise UserError(f"data.path={path}: no such file or folder")
    return path


def _read_table(path: Path) -> list[_Row]:
    table = tables.read_table(path)
    rows = [_row(path, where, values) for where, values in table.pick(COLUMNS, MORE)]
    if not rows:
        raise UserError(f"{path}: has no rows below its header")
    return rows if table.place("split") is not None else _with_splits(rows)


def _row(table: Path, where: str, values: dict[str, str]) -> _Row:
    name, text, split = values["path"], values["text"], values.get("split") or "train"
    path = table.parent / name
    if not name or not path.is_file():
        raise UserError(f"{where}: no such file: {path}" if name else f"{where}: its path is empty")
    if not text:
        raise UserError(f"{where}: {name} has no text")
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r}: write one of {', '.join(SPLITS)}")
    return _Row(name, path, " ".join(text.split()), values.get("speaker", ""), split)


def _with_splits(rows: list[_Row]) -> list[_Row]:
    """A tenth each to val and test, at least one: those whose names have the smallest hashes, whatever their order."""
    share = max(1, round(SHARE * len(rows)))
    ranked = sorted(rows, key=lambda row: hashlib.sha256(row.name.encode()).digest())
    chosen = {row.name: "test" for row in ranked[:share]} | {row.name: "val" for row in ranked[share : 2 * share]}
    return [replace(row, split=chosen.get(row.name, "train")) for row in rows]
