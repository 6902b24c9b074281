"""The user's word vectors: GloVe or word2vec text format, plain or gzipped, read line by line.

A line is a word and its numbers, separated by single spaces; word2vec's first line gives the number of words and the
dimension. Only the rows of the wanted words are held in memory, however large the file.
"""

import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError

WIDEST = 100_000
"""most numbers in a vector; a header that says more is damaged"""
LONGEST = 4 << 20
"""most bytes in a line"""
LARGEST = float(np.finfo(np.float32).max)
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Vectors:
    """The words found, and their vectors."""

    words: tuple[str, ...]
    """in file order"""
    rows: NDArray[np.float32]
    """[words, D]"""


def read_vectors(path: Path, wanted: Collection[str], dimension: int | None = None) -> Vectors:
    """The vectors of those `wanted` words that are in the file; for duplicate words the first is used.

    Args:
        path: plain or gzipped text, detected by its first bytes, not its name.
        wanted: words, spelled as in the file.
        dimension: numbers per row; None: whatever the file has.

    Raises:
        UserError: names the file and the line: a row of the wrong length, a value that is not a finite number, a
            dimension other than wanted, or a file that is empty, damaged or unreadable.
    """
    wanted, found = frozenset(wanted), dict[str, int]()
    rows = np.empty((0, 0), dtype=np.float32)
    lines = _lines(path)
    for number, line in lines:
        if not rows.shape[1]:  # the first line that is not empty
            header, size = _dimension(path, line, dimension)
            rows = np.empty((len(wanted), size), dtype=np.float32)
            if header:
                continue
        word, values = _row(path, number, line, rows.shape[1])
        if word in wanted and word not in found:
            rows[len(found)] = _numbers(path, number, word, values)
            found[word] = len(found)
    if not rows.shape[1]:
        raise UserError(f"{path}: is empty; give it a file of word vectors (a word and its numbers on each line)")
    return Vectors(tuple(found), rows[: len(found)])


def _dimension(path: Path, line: bytes, wanted: int | None) -> tuple[bool, int]:
    """(whether the first line is word2vec's header, numbers per row)."""
    fields = line.split()
    header = len(fields) == 2 and all(field.isdigit() and len(field) < 10 for field in fields)
    size = int(fields[1]) if header else len(fields) - 1
    if not 1 <= size <= WIDEST:
        many = "no" if size < 1 else "too many"
        raise UserError(f"{path}, line 1: has {many} numbers; expected a word and its vector, or word2vec's header")
    if wanted is not None and size != wanted:
        raise UserError(f"{path}, line 1: vectors of {size} numbers, wanted {wanted}; set the dimension to {size}")
    return header, size


def _row(path: Path, number: int, line: bytes, size: int) -> tuple[str, Sequence[bytes]]:
    fields = line.rstrip(b" ").split(b" ")
    # A few words in GloVe's largest file contain spaces: ". . .". If there is a number among them, the row is too long.
    cut = max(len(fields) - size, 0)
    word, values = fields[:cut], fields[cut:]
    if not word or any(_is_number(part) for part in word[1:]):
        came = sum(_is_number(field) for field in fields[1:])
        raise UserError(f"{path}, line {number}: has {came} numbers instead of {size}; correct or remove that line")
    # A word that is not valid UTF-8 cannot be wanted; the rest of the file is still usable.
    return b" ".join(word).decode("utf-8", errors="replace"), values


def _numbers(path: Path, number: int, word: str, values: Sequence[bytes]) -> list[float]:
    try:
        row = [float(value) for value in values]
    except ValueError:
        bad = next(value for value in values if not _is_number(value)).decode("utf-8", errors="replace")
        raise UserError(
            f"{path}, line {number}: {bad!r} in the vector of {word!r} is not a number; correct it"
        ) from None
    if not all(abs(value) <= LARGEST for value in row):
        raise UserError(
            f"{path}, line {number}: the vector of {word!r} holds NaN or infinity (float32); remove that line"
        )
    return row


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, line without its end) of every line that is not empty."""
    with _reading(path), _open(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
            if len(line) == LONGEST:
                raise UserError(f"{path}, line {number:,}: has {LONGEST:,} bytes or more: not a word with its numbers")
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text := text.rstrip(b"\r\n"):
                yield number, text


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: is damaged or incomplete ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
