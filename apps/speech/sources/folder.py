"""The user's own recordings: a table with the columns `path` and `text`, and the audio files that it names.

`path` is relative to the table's folder, or to one in it (Common Voice's `clips`). Two more columns may be there:
`split` (train, val or test) and `speaker`.
Without such a table, a folder may have one of the layouts of `apps.speech.sources.layouts`.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from apps.speech import audio
from apps.speech.sources import Source, Split, Utterance, layouts
from core.data import copies, folders, tables
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
    split: Split


def source(path: Path | None, rate: int) -> Source:
    """The recordings that the table at `path` names; of a folder those of its layout, or of its only table.

    Raises:
        UserError: no such file, not one table and no known layout, missing columns, or a row whose recording is gone,
            whose text is empty, or whose split is unknown. All rows are checked before any recording is read.
    """
    rows, notes = _found(path)
    items = [copies.Item(row.name, row.split, row.text, sha256(row.path)) for row in rows]
    content = hashlib.sha256()
    for row, item in zip(rows, items, strict=True):
        content.update(repr((row.name, row.text, row.speaker, row.split, item.digest)).encode())
    rule = "by its column split, else by hash of the name"
    spec = {"source": "folder", "rate": rate, "content": content.hexdigest(), "split": rule}
    return Source(spec, partial(_read, rows, rate), (*notes, *copies.notes(items, "text")))


def _read(rows: list[_Row], rate: int) -> Iterator[Utterance]:
    for row in rows:
        yield Utterance(row.name, row.text, row.speaker, row.split, audio.read(row.path, rate))


def _found(path: Path | None) -> tuple[list[_Row], tuple[str, ...]]:
    """(every recording in its split, what the user should be told of them)."""
    if path is None:
        raise UserError("data.source=folder: add --set data.path=FOLDER, a folder with a table (columns path,text)")
    if not path.exists():
        raise UserError(f"data.path={path}: no such file or folder")
    if path.is_dir() and (known := layouts.recognised(path)):
        rows, said = known
        return _checked(path, rows), (f"{path}: {said}",)
    table = tables.only_table(path) if path.is_dir() else path
    found = _checked(table.parent, list(tables.read_table(table).pick(COLUMNS, MORE)), str(table))
    others = folders.left_out([table, *(row.path for row in found)])
    return found, (f"{table}: {len(found):,} recordings{others}",)


def _checked(root: Path, rows: layouts.Rows, table: str = "") -> list[_Row]:
    if not rows:
        raise UserError(f"{table}: has no rows below its header")
    places = folders.places(root)
    found = [_row(places, where, values) for where, values in rows]
    return found if "split" in rows[0][1] else _with_splits(found)


def _row(places: list[Path], where: str, values: dict[str, str]) -> _Row:
    name = values["path"]
    path = folders.located(where, places, name)
    # One program writes an accent as a part of its letter, another one behind it: two symbols of one sound.
    text = unicodedata.normalize("NFC", " ".join(values["text"].split()))
    if not text:
        raise UserError(f"{where}: {name} has no text")
    split = folders.split_in(where, values.get("split", ""))
    return _Row(name, path, text, values.get("speaker", ""), split)


def _with_splits(rows: list[_Row]) -> list[_Row]:
    """A tenth each to val and test, at least one: those whose names have the smallest hashes, whatever their order."""
    share = max(1, round(SHARE * len(rows)))
    ranked = sorted(rows, key=lambda row: hashlib.sha256(row.name.encode()).digest())
    chosen: dict[str, Split] = {row.name: "test" for row in ranked[:share]}
    chosen |= {row.name: "val" for row in ranked[share : 2 * share]}
    return [replace(row, split=chosen.get(row.name, "train")) for row in rows]
