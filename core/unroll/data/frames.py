"""Sequences of frames in one flat file: the features of recordings, the pictures of clips.

The file holds only the frames of consecutive sequences. The position of each sequence is in its record, which the
application stores beside the file (`unroll.data.files.write_jsonl`), with anything else about it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Record = dict[str, Any]
"""record of a sequence: what `FrameWriter.add` returned, and the application's own keys"""


class FrameWriter:
    """Writes sequences of any length to a new file, one by one.

    Args:
        path: the file; an existing one is replaced.
        dtype: of the values in the file.
    """

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._dtype, self._count = dtype, 0
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, frames: NDArray[Any]) -> Record:
        """Append a sequence [T, ...]; returns its position, for its record: the index of its first frame, and T."""
        place = {"start": self._count, "frames": len(frames)}
        self._file.write(np.ascontiguousarray(frames, dtype=self._dtype).tobytes())
        self._count += len(frames)
        return place


def open_frames(path: Path, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
    """All frames of a file that a `FrameWriter` wrote, memory-mapped: [frames, *shape]."""
    return np.memmap(path, dtype, "r").reshape(-1, *shape)


class FrameSequences:
    """(record, frames [T, ...]) of sequences, read on demand: the data set of a loader.

    Args:
        frames: of the file, see `open_frames`.
        records: of the sequences; one may also select a part of a sequence, by its own start and number of frames.
    """

    def __init__(self, frames: NDArray[Any], records: Sequence[Record]) -> None:
        self._frames, self._records = frames, records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Record, NDArray[Any]]:
        record = self._records[index]
        # Copied, because torch does not accept read-only arrays.
        return record, self._frames[record["start"] : record["start"] + record["frames"]].copy()

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[Record, NDArray[Any]]]:
        """A batch at once, as a loader asks for it."""
        return [self[row] for row in rows]

    @property
    def lengths(self) -> list[int]:
        """Frames of each sequence."""
        return [record["frames"] for record in self._records]
