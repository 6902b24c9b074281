"""Prepared sets: created once per specification, under a lock, published completely or not at all, with a digest.

A store is a folder:

    root/
        downloads/                  published files, see `unroll.data.fetch`
        prepared/NAME-0123456789ab/ one prepared set; the digits start its specification's SHA-256
            manifest.json           specification, digest, size and SHA-256 of each file
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pooch import file_hash

from unroll.data.fetch import RemoteFile, fetch, fetch_all
from unroll.data.files import JSON, disk_full, locked, read_json, sync_folder, write_json, writing
from unroll.errors import UserError, typed
from unroll.places import data_folder

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Prepared:
    """A complete prepared set."""

    folder: Path
    digest: str
    """SHA-256 over the specification and each file's name and SHA-256: the same on every machine, at any time"""
    spec: dict[str, Any]
    """what it was made from, as plain JSON values"""


class Store:
    """A folder of downloads and prepared sets. Any number of processes may use it at the same time."""

    def __init__(self, root: Path | None = None, *, force: bool = False) -> None:
        """`root` defaults to `unroll.places.data_folder()`. It is created on first use.

        With `force`, every `prepare` through this object rebuilds its set.
        """
        self.root = root or data_folder()
        self.force = force

    @property
    def downloads(self) -> Path:
        """The download cache."""
        return self.root / "downloads"

    def fetch(self, file: RemoteFile) -> Path:
        """The verified local copy of a published file. Raises UserError as `unroll.data.fetch.fetch_all`."""
        return fetch(file, self.downloads)

    def fetch_all(self, files: Iterable[RemoteFile], *, label: str) -> list[Path]:
        """The verified local copies of many published files. Raises UserError as `unroll.data.fetch.fetch_all`."""
        return fetch_all(files, self.downloads, label=label)

    def prepare(
        self, name: str, spec: Mapping[str, JSON], write: Callable[[Path], None], *, force: bool = False
    ) -> Prepared:
        """Create the set `name` by `spec`, unless it exists already.

        `write` fills the empty folder that it is given; the set appears in the store only when it returns. If two
        processes prepare the same set, it is done once: the second waits and uses the first one's result. With `force`
        the set is rebuilt; the old one is replaced when the new one is complete.

        Args:
            name: the application's name, or APP.PART if it has several sets.
            spec: everything that the content depends on; another spec is another set.

        Raises:
            UserError: the disk is full, the store cannot be written, or the existing set is damaged.
            Whatever `write` raises; the store is then unchanged.
        """
        folder, force = self._folder(name, spec), force or self.force
        if folder.exists() and not force:
            return self.open(name, spec)
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for another process that is preparing {name} ..."
        with locked(folder.with_name(f"{folder.name}.lock"), waiting):
            _clear_leftovers(folder)
            if force or not folder.exists():
                _make(folder, name, spec, write)
        return self.open(name, spec)

    def open(self, name: str, spec: Mapping[str, JSON]) -> Prepared:
        """The set that `prepare` created. Checks only names and sizes; `verify` reads everything.

        Raises:
            UserError: it is not prepared, or a file of it is missing or has another size.
        """
        folder = self._folder(name, spec)
        if not folder.exists():
            raise UserError(f"{folder}: is not prepared; run: {_command(name)}")
        manifest = _manifest(folder, name, spec)
        for file, wanted in manifest["files"].items():
            path = folder / file
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                raise _damaged(path, "is missing", name)
            if size != wanted["size"]:
                raise _damaged(path, f"has {size:,} bytes instead of {wanted['size']:,}", name)
        return Prepared(folder, manifest["digest"], json.loads(_canonical(spec)))

    def verify(self, prepared: Prepared) -> None:
        """Read and check the whole set. Raises UserError naming the first file that differs from what was prepared."""
        name = prepared.folder.name.rpartition("-")[0]
        wanted, found = _manifest(prepared.folder, name, prepared.spec)["files"], _table(prepared.folder)
        for file in sorted(wanted.keys() | found.keys()):
            if file not in found:
                raise _damaged(prepared.folder / file, "is missing", name)
            if file not in wanted:
                raise _damaged(prepared.folder / file, "was not there before", name)
            if wanted[file] != found[file]:
                raise _damaged(prepared.folder / file, "has changed", name)

    def _folder(self, name: str, spec: Mapping[str, JSON]) -> Path:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)?", name):
            raise ValueError(f"prepared set {name!r}: name it APP or APP.PART")
        return self.root / "prepared" / f"{name}-{hashlib.sha256(_canonical(spec)).hexdigest()[:12]}"


def _make(folder: Path, name: str, spec: Mapping[str, JSON], write: Callable[[Path], None]) -> None:
    start = time.perf_counter()
    with _temporary(folder) as temporary:
        write(temporary)
        _flush(temporary)
        files = _table(temporary)
        manifest: dict[str, JSON] = {
            "name": name,
            "spec": spec,
            "digest": _digest(spec, files),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - start, 3),
            "files": files,
        }
        write_json(temporary / MANIFEST, manifest)
        _swap(temporary, folder)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, always removed unless it was renamed."""
    temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    with writing(temporary):
        temporary.mkdir()
    try:
        with disk_full(folder):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, folder: Path) -> None:
    """Replace the old folder by the new one. If killed in between, the next `_clear_leftovers` restores it."""
    old = folder.with_name(f"{folder.name}.old")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left. Only the holder of the lock creates these folders, so none is in use."""
    old = folder.with_name(f"{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (old, *folder.parent.glob(f"{folder.name}.*.tmp")):
        shutil.rmtree(leftover, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    """The content of a set: every file but the manifest."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _flush(folder: Path) -> None:
    """Flush the content to the disk before the rename that publishes it, however `write` wrote it."""
    for path in _files(folder):
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def _table(folder: Path) -> dict[str, dict[str, str | int]]:
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_hash(path)}
        for path in _files(folder)
    }


def _digest(spec: Mapping[str, JSON], files: Mapping[str, Mapping[str, str | int]]) -> str:
    content: JSON = {"spec": spec, "files": {name: entry["sha256"] for name, entry in files.items()}}
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(value: JSON) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _manifest(folder: Path, name: str, spec: Mapping[str, JSON]) -> Any:
    """The manifest, if it is intact and belongs to this specification."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        intact = manifest["digest"] == _digest(spec, manifest["files"])
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "is missing or damaged", name) from error
    if not intact:
        raise _damaged(path, "does not agree with its digest", name)
    return manifest


def _damaged(path: Path, problem: str, name: str) -> UserError:
    return UserError(f"{path}: {problem}; run: {_command(name)} --force")


def _command(name: str) -> str:
    return f"{typed()} prepare --app {name.partition('.')[0]}"
