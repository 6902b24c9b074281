"""Reads and writes files: atomically, without pickles, with errors that name file and line.

A reader never sees half a file: everything is written under a temporary name in the same folder, flushed to the disk,
and renamed. What a killed process leaves behind is called `.NAME.<something>.tmp` and is never read.
"""

import errno
import gzip
import hashlib
import json
import os
import secrets
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from filelock import BaseFileLock, FileLock, Timeout

from unroll.errors import UserError

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | float | bool | None"

MOST_RATIO = 200
"""most times its size that a packed file may expand to: text expands 3 to 30 times, a decompression bomb 1000 times"""
MOST_RATIO_FROM = 64 << 20
"""bytes that any packed file may expand to"""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_error(path: Path, error: OSError, needed: int = 0) -> UserError:
    """What the user is told when `path` cannot be written. `needed`: bytes still to be written, if known."""
    if error.errno not in DISK_FULL:
        return UserError(f"{path}: cannot be written ({error.strerror}); make its folder writable or choose another")
    folder = _folder(path)
    space = f"{shutil.disk_usage(folder).free:,} bytes left" + (f", {needed:,} needed" if needed > 0 else "")
    return UserError(f"{path}: the disk is full: {folder} has {space}; free some space and run again")


def _is_full(error: OSError) -> bool:
    """`shutil.copytree` collects errors as texts, without an errno."""
    gathered = isinstance(error, shutil.Error) and any(f"[Errno {number}]" in str(error) for number in DISK_FULL)
    return error.errno in DISK_FULL or gathered


def _folder(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.is_dir())


def _space(path: Path) -> int:
    return shutil.disk_usage(_folder(path)).free


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around our own writing to `path`: turns a full disk, a read-only folder and the like into a UserError."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def disk_full(*paths: Path) -> Iterator[None]:
    """Around third-party code that writes to `paths`: turns a full disk into a UserError; other errors pass through.

    Of several paths, the error names the one with the least space left.
    """
    try:
        yield
    except OSError as error:
        if not _is_full(error):
            raise
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise write_error(min(paths, key=_space), full) from error


@contextmanager
def locked(path: Path, waiting: str = "", stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the lock file `path` against other threads and processes; the kernel releases it if this process dies.

    `waiting` is printed once to stderr if the lock is taken; the wait ends with filelock.Timeout when `stopped` becomes
    true. The file is removed afterwards: a process waiting on the removed file notices (filelock compares the link
    count) and starts over with a new one.
    """
    lock = FileLock(path)
    with writing(path):
        free = _try(lock)
    if not free:
        if waiting:
            print(waiting, file=sys.stderr, flush=True)
        lock.acquire(cancel_check=stopped)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A new binary file that replaces `path` if the block succeeds, and is removed if it does not.

    Raises:
        UserError: the disk is full or the folder is not writable; the old file at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        file = temporary.open("xb")
    try:
        with disk_full(path), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with writing(path):
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk, so that a rename survives a power failure."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` to `path`, all or nothing. Raises UserError like `atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def sha256(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal. Raises UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def gunzip(path: Path, file: IO[bytes], size: int) -> Iterator[bytes]:
    """The content of a gzip file in pieces, with a bound on its size.

    Args:
        path: its name in errors.
        file: its bytes.
        size: how many they are.

    Raises:
        UserError: it expands to more than MOST_RATIO times its size, or is damaged or truncated.
    """
    total, most = 0, max(MOST_RATIO * size, MOST_RATIO_FROM)
    try:
        with gzip.open(file) as content:
            while piece := content.read(1 << 20):
                total += len(piece)
                if total > most:
                    text = f"expands more than {MOST_RATIO} times when unpacked; unpack it yourself if you trust it"
                    raise UserError(f"{path}: {text}")
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: it is damaged or cut off ({error})") from None


def write_json(path: Path, value: JSON) -> None:
    """Write one JSON value, indented. Raises ValueError for NaN and infinity, UserError like `atomic_file`."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`. Raises UserError naming the file, and the line that is not JSON."""
    with _reading(path):
        return parse_json(path, path.read_text(encoding="utf-8"))


def parse_json(path: Path, text: str, line: int = 1, *, once: bool = False) -> Any:
    """The JSON value of `text`, which starts on that line of `path`.

    Args:
        once: reject an object with two values of the same name; otherwise the last one is used.

    Raises:
        UserError: names what is wrong.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once if once else None)
    except json.JSONDecodeError as error:
        where = f"line {line + error.lineno - 1}, column {error.colno}"
        raise UserError(f"{path}, {where}: is not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of a million digits, a million brackets
        raise UserError(f"{path}, line {line}: cannot be read as JSON ({error})") from error


def write_jsonl(path: Path, rows: Iterable[JSON]) -> None:
    """Write one JSON value per line; `rows` may be a generator of any length."""
    with atomic_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_jsonl(path: Path) -> Iterator[Any]:
    """The values of a file with one JSON value per line, one by one; blank lines are skipped.

    Raises:
        UserError: names the file and the line that is not JSON.
    """
    with _reading(path), path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield parse_json(path, line.rstrip("\n"), number)


def _try(lock: BaseFileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.object[error.start]:#04x}); convert it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two values are called {next(name for name in names if names.count(name) > 1)!r}")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")
