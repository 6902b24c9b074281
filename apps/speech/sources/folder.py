"""The user's recordings: a table with the columns `path` and `text`, and the audio files that it names.

`path` is relative to the table's folder, or to a folder in it (Common Voice's `clips`). The columns `split` (train, val
or test) and `speaker` are optional. Missing splits are drawn from train: see `drawing`. Instead of such a table, a
folder may have one of the layouts in `unroll.apps.speech.sources.layouts`.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from unroll.data import copies, folders, tables
from unroll.data.files import sha256
from unroll.data.source import content_digest, own_path
from unroll.errors import UserError
from unroll.sequence.text import Units

from .. import audio
from . import Source, Utterance, drawing, layouts
from .drawing import Row

COLUMNS = {
    "path": ("file", "file_name", "audio", "audio_file", "audio_path", "audio_filepath", "wav", "wav_filename"),
    "text": ("transcript", "transcription", "sentence", "utterance"),
}
MORE = {"split": (), "speaker": ("speaker_id", "client_id")}


def source(path: Path | None, rate: int, units: Units = "characters") -> Source:
    """The recordings of the table at `path`; for a folder, those of its layout or of its only table.

    Args:
        path: of the table or folder.
        rate: samples per second to which recordings are resampled.
        units: of the model's symbols, for drawing splits.

    Raises:
        UserError: no such file, not one table and no known layout, missing columns, or a row whose recording is gone,
            whose text is empty, or whose split is unknown. All rows are checked before any recording is read.
    """
    rows, said = _found(path)
    rows, drawn = drawing.drawn(rows, units)
    items = [copies.Item(row.name, row.split, row.text, row.digest) for row in rows]
    content = content_digest((row.name, row.text, row.speaker, row.split, row.digest) for row in rows)
    rule = "by its column split, else by hash of the name"
    spec = {"source": "folder", "rate": rate, "content": content, "split": rule}
    return Source(spec, partial(_read, rows, rate), (said, *drawn, *copies.notes(items, "text")))


def _read(rows: list[Row], rate: int) -> Iterator[Utterance]:
    for row in rows:
        yield Utterance(row.name, row.text, row.speaker, row.split, audio.read(row.path, rate))


def _found(path: Path | None) -> tuple[list[Row], str]:
    """(every recording in its split, a line for the user)."""
    path = own_path(path, "folder", "FOLDER, a folder with a table (columns path,text)")
    if not path.exists():
        raise UserError(f"data.path={path}: no such file or folder")
    if path.is_dir() and (known := layouts.recognised(path)):
        rows, said = known
        return _checked(path, rows), f"{path}: {said}"
    table = tables.only_table(path) if path.is_dir() else path
    found = _checked(table.parent, tables.read_table(table).pick(COLUMNS, MORE))
    others = folders.left_out([table, *(row.path for row in found)])
    return found, f"{table}: {len(found):,} recordings{others}"


def _checked(root: Path, rows: Iterable[tuple[str, dict[str, str]]]) -> list[Row]:
    places = folders.places(root)
    return [_row(places, where, values) for where, values in rows]


def _row(places: list[Path], where: str, values: dict[str, str]) -> Row:
    name = values["path"]
    path = folders.located(where, places, name)
    # Composed and decomposed accents would be different symbols for the same sound.
    text = unicodedata.normalize("NFC", " ".join(values["text"].split()))
    if not text:
        raise UserError(f"{where}: {name} has no text")
    split = folders.split_in(where, values.get("split", ""))
    return Row(name, path, text, values.get("speaker", ""), split, sha256(path))
