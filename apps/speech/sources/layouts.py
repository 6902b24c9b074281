"""Common layouts of folders of recordings: LJSpeech's, LibriSpeech's, and text files beside the recordings.

Each layout gives the same rows as a table: path (relative to the folder), text, and perhaps speaker and split.
"""

from collections.abc import Iterator
from pathlib import Path

from unroll.data import folders, tables
from unroll.data import text as texts
from unroll.errors import UserError

SOUNDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au"})
Rows = list[tuple[str, dict[str, str]]]
"""(name of the row in messages, values by column)"""
TRANSCRIPTS = ".trans.txt"
"""ending of LibriSpeech's transcript files: `ID TEXT` on each line, beside the recordings ID.flac"""


def ljspeech(folder: Path) -> tuple[Rows, str] | None:
    """`metadata.csv` of lines `ID|text|normalised text`, without a header, and `wavs/ID.wav` (Ito 2017).

    If there is a normalised text, that is used: it is what is spoken.
    """
    table, sounds = folder / "metadata.csv", folder / "wavs"
    if not (table.is_file() and sounds.is_dir()) or "|" not in "".join(texts.read_lines(table)[:1]):
        return None
    named = {path.stem: path for path in folders.files(sounds, SOUNDS)}
    read = tables.read_table(table, delimiter="|", quotes=False, header=lambda first: False)
    columns = {"id": ("1",), "text": (str(len(read.columns)),)}
    rows = []
    for where, values in read.pick(columns):
        id = values["id"].removesuffix(".wav")
        if id not in named:
            raise UserError(f"{where}: no such recording: {sounds / id}.wav")
        rows.append((where, {"path": str(named[id].relative_to(folder)), "text": values["text"]}))
    others = folders.left_out(folder / values["path"] for _, values in rows)
    said = f"LJSpeech's layout: {len(rows):,} recordings in wavs, column {len(read.columns)} of metadata.csv"
    return rows, said + others


def librispeech(folder: Path) -> tuple[Rows, str] | None:
    """Files SPEAKER-CHAPTER.trans.txt at any depth, beside their recordings (Panayotov et al. 2015).

    The folders train-..., dev-... and test-... are the splits, if there is a train folder.
    """
    lists = [path for path in folders.walk(folder) if path.name.endswith(TRANSCRIPTS)]
    rows = [row for path in lists for row in _librispeech(folder, path)]
    if not rows:
        return None
    if "train" not in {values["split"] for _, values in rows}:
        for _, values in rows:
            del values["split"]
    others = folders.left_out([*lists, *(folder / values["path"] for _, values in rows)])
    return rows, f"LibriSpeech's layout: {len(rows):,} recordings, {len(lists):,} files of transcripts{others}"


def _librispeech(folder: Path, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    inside = path.relative_to(folder).parts[:-1]
    split = next((known for part in inside if (known := folders.split_of(part.partition("-")[0]))), "")
    named = {sound.stem: sound for sound in folders.entries(path.parent) if sound.suffix.lower() in SOUNDS}
    for number, line in enumerate(texts.read_lines(path), start=1):
        id, _, text = line.strip().partition(" ")
        where = f"{path}, line {number}"
        if id not in named:
            raise UserError(f"{where}: no such recording: {path.parent / id}.flac")
        speaker = id.partition("-")[0]
        found = {"path": str(named[id].relative_to(folder)), "text": text, "speaker": speaker, "split": split}
        yield where, found


def beside(folder: Path) -> tuple[Rows, str] | None:
    """Every recording with its text in a file of its name: `a.wav` and `a.txt`, at any depth."""
    sounds = [path for path in folders.walk(folder) if path.suffix.lower() in SOUNDS]
    for path in sounds:
        folders.check_name(path)
    spoken = {path: path.with_suffix(".txt") for path in sounds}
    if not any(text.is_file() for text in spoken.values()):
        return None
    rows = []
    for path, text in spoken.items():
        if not text.is_file():
            raise UserError(f"{path}: has no {text.name} beside it, as the other recordings have; add it")
        rows.append((str(text), {"path": str(path.relative_to(folder)), "text": texts.read_text(text)}))
    others = folders.left_out([*spoken, *spoken.values()])
    return rows, f"{len(rows):,} recordings, each with its text beside it{others}"


def recognised(folder: Path) -> tuple[Rows, str] | None:
    """The rows of a folder in one of these layouts, and a description; None if it has a table, or no such layout.

    Raises:
        UserError: a recording or text that the layout requires is missing.
    """
    if found := ljspeech(folder):
        return found
    if any(path.suffix.lower() in tables.ENDINGS for path in folders.entries(folder)):
        return None
    return librispeech(folder) or beside(folder)
