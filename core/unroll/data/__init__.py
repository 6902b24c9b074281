"""Published files (`fetch`), prepared sets (`store`), reading and writing files (`files`); the user's own text (`text`)
and tables (`tables`)."""

from typing import TYPE_CHECKING

from unroll.lazy import lazily

if TYPE_CHECKING:
    from unroll.data.arrays import read_arrays, write_arrays, write_rows
    from unroll.data.fetch import RemoteFile, fetch_all
    from unroll.data.files import (
        atomic_file,
        atomic_write,
        read_json,
        read_jsonl,
        sha256,
        write_json,
        write_jsonl,
        writing,
    )
    from unroll.data.folders import Labelled
    from unroll.data.frames import FrameSequences, FrameWriter, open_frames
    from unroll.data.source import SPLITS, Source, Split
    from unroll.data.store import Prepared, Store
    from unroll.data.tables import Row, Table, read_table
    from unroll.data.text import read_lines, read_text

__all__ = [
    "SPLITS",
    "FrameSequences",
    "FrameWriter",
    "Labelled",
    "Prepared",
    "RemoteFile",
    "Row",
    "Source",
    "Split",
    "Store",
    "Table",
    "atomic_file",
    "atomic_write",
    "fetch_all",
    "open_frames",
    "read_arrays",
    "read_json",
    "read_jsonl",
    "read_lines",
    "read_table",
    "read_text",
    "sha256",
    "write_arrays",
    "write_json",
    "write_jsonl",
    "write_rows",
    "writing",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "arrays": ("read_arrays", "write_arrays", "write_rows"),
        "fetch": ("RemoteFile", "fetch_all"),
        "files": (
            "atomic_file",
            "atomic_write",
            "read_json",
            "read_jsonl",
            "sha256",
            "write_json",
            "write_jsonl",
            "writing",
        ),
        "folders": ("Labelled",),
        "frames": ("FrameSequences", "FrameWriter", "open_frames"),
        "source": ("SPLITS", "Source", "Split"),
        "store": ("Prepared", "Store"),
        "tables": ("Row", "Table", "read_table"),
        "text": ("read_lines", "read_text"),
    },
)
