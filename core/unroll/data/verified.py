"""Remembers checksums by path, size and modification time, so that no file is hashed twice."""

from contextlib import suppress
from pathlib import Path

from pooch import file_hash

from unroll.data.files import locked, read_json, write_json
from unroll.errors import UserError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of an empty file, which an unnoticed failed download leaves behind"""


class Verified:
    """SHA-256 of files, kept in a cache folder's `verified.json`. It only saves time and may be lost."""

    def __init__(self, cache: Path) -> None:
        self._path = cache / "verified.json"
        self._known = self._load()
        self._new: dict[str, list[int | str]] = {}

    def sha256(self, path: Path) -> str:
        """SHA-256 of the file at `path`, which is read only if new or changed. Raises OSError."""
        stat = path.stat()
        remembered = self._known.get(str(path.absolute()))
        if remembered and remembered[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(remembered[2])
        sha256 = str(file_hash(path))
        self._remember(path, [stat.st_size, stat.st_mtime_ns, sha256])
        return sha256

    def add(self, path: Path, sha256: str) -> None:
        """Remember the checksum of a file that was hashed elsewhere."""
        stat = path.stat()
        self._remember(path, [stat.st_size, stat.st_mtime_ns, sha256])

    def save(self) -> None:
        """Add new checksums to the file. If it cannot be written, nothing is remembered."""
        if self._new:
            with suppress(UserError):
                self._merge()

    def _merge(self) -> None:
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path.with_name(f"{self._path.name}.lock")):
            write_json(self._path, self._load() | self._new)
        self._new = {}

    def _remember(self, path: Path, entry: list[int | str]) -> None:
        self._known[str(path.absolute())] = self._new[str(path.absolute())] = entry

    def _load(self) -> dict[str, list[int | str]]:
        with suppress(UserError):
            known = read_json(self._path)
            if isinstance(known, dict):
                return {path: entry for path, entry in known.items() if isinstance(entry, list) and len(entry) == 3}
        return {}  # missing or damaged: everything is hashed again
