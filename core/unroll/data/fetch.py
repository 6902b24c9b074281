"""Published files, by checksum: from the cache, a mirror or the network, whichever has the right bytes first.

A file has the same relative path in the download cache and in the mirror, a folder named by the environment variable
UNROLL_MIRROR. A mirror is read in place and never written to.
"""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pooch import file_hash
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from unroll.data.download import UnavailableError, download
from unroll.data.files import locked, writing
from unroll.data.verified import EMPTY, Verified
from unroll.errors import UserError

AT_ONCE = 8
"""parallel downloads: thousands of small files are bound by latency, not by bandwidth"""


@dataclass(frozen=True)
class RemoteFile:
    """A published file. Raises ValueError for a path that leaves its folder, or an invalid checksum or URL."""

    path: str
    """relative, with "/": its path in the download cache and in a mirror, for example "ptb/ptb.train.txt" """
    urls: tuple[str, ...]
    """where it is published, in the order to try; empty if only a mirror has it"""
    sha256: str
    """of the published bytes, 64 hexadecimal digits"""

    def __post_init__(self) -> None:
        if PurePosixPath(self.path).is_absolute() or {"", ".", ".."} & set(self.path.split("/")) or "\\" in self.path:
            raise ValueError(f"RemoteFile path {self.path!r}: must be relative and stay in its folder")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256) or self.sha256 == EMPTY:
            raise ValueError(f"{self.path}: {self.sha256!r} is not the SHA-256 of a published file")
        if not all(url.startswith(("http://", "https://")) for url in self.urls):
            raise ValueError(f"{self.path}: {self.urls} must be http(s) URLs")


def fetch(file: RemoteFile, cache: Path) -> Path:
    """The verified copy of `file`: in `cache`, in the mirror, or downloaded into `cache`. Raises like `fetch_all`."""
    return fetch_all([file], cache, label=file.path)[0]


def fetch_all(files: Iterable[RemoteFile], cache: Path, *, label: str) -> list[Path]:
    """The verified local copies of `files`, in their order; several are downloaded at once.

    On a terminal a progress bar labelled `label` is shown; one line on stderr sums up what was downloaded. A file that
    was verified before is not hashed again while its size and modification time stay the same.

    Raises:
        UserError: the first file that is not available, why each place failed, and what to do; a full disk; a cache
            folder that cannot be written. What was downloaded so far is kept, and the next call continues from there.
    """
    files = list(files)
    verified = Verified(cache)
    with _progress(label, len(files)) as progress:
        run = _Run(cache, _mirror(), verified, progress)
        try:
            paths = _several_at_once(run, files)
        finally:
            verified.save()
    run.sum_up(label, len(files))
    return paths


@dataclass
class _Run:
    """One call of `fetch_all`: where to look, known checksums, and progress so far."""

    cache: Path
    mirror: Path | None
    verified: Verified
    progress: Callable[[int, int], None]
    """called with (files finished, bytes received) since the last call"""
    stop: threading.Event = field(default_factory=threading.Event)
    downloaded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def locate(self, file: RemoteFile) -> Path:
        """The verified copy of one file, downloaded if necessary. Raises like `fetch_all`."""
        cached = self.cache / file.path
        problems: list[str] = []
        places = [cached] if self.mirror is None else [cached, self.mirror / file.path]
        path = next((place for place in places if self._is_right(place, file, problems)), None)
        if path is None:
            path = self._download(file, cached, problems)
            self.notes += problems
        self.progress(1, 0)
        return path

    def sum_up(self, label: str, files: int) -> None:
        """One line on stderr if anything was downloaded, and one if a wrong copy was ignored."""
        if self.downloaded:
            print(f"{label}: {files} files, {len(self.downloaded)} downloaded to {self.cache}", file=sys.stderr)
        if self.notes:
            more = f" (and {len(self.notes) - 1} more)" if len(self.notes) > 1 else ""
            print(f"{label}: not used: {self.notes[0]}{more}", file=sys.stderr)

    def _is_right(self, path: Path, file: RemoteFile, problems: list[str]) -> bool:
        try:
            got = self.verified.sha256(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
            return False
        if got != file.sha256:
            problems.append(_mismatch(str(path), got, file.sha256))
        return got == file.sha256

    def _download(self, file: RemoteFile, path: Path, problems: list[str]) -> Path:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for another process that is downloading {file.path} ..."
        with locked(path.with_name(f"{path.name}.lock"), waiting, self.stop.is_set):
            if path.exists() and self._is_right(path, file, []):  # by that other process
                return path
            failures: list[str] = []
            for url in file.urls:
                try:
                    return self._publish(self._receive(file, url, path), file, path)
                except UnavailableError as failure:
                    failures.append(str(failure))
        raise self._nowhere(file, path, [*problems, *failures])

    def _receive(self, file: RemoteFile, url: str, path: Path) -> Path:
        """The right bytes from `url`, in a `.part` file beside `path`. Raises UnavailableError."""
        part = path.with_name(f"{path.name}.part")
        resumed = part.exists()
        download(url, part, self._received)
        got = file_hash(part)
        if got == file.sha256:
            return part
        part.unlink()
        if resumed:  # the older part may be from another version of the file: start over
            return self._receive(file, url, path)
        raise UnavailableError(_mismatch(url, got, file.sha256))

    def _received(self, count: int) -> None:
        if self.stop.is_set():
            raise _StoppedError
        self.progress(0, count)

    def _publish(self, part: Path, file: RemoteFile, path: Path) -> Path:
        with writing(path):
            with part.open("r+b") as content:
                os.fsync(content.fileno())
            if path.exists():  # wrong, but perhaps the user's: set aside
                path.replace(path.with_name(f"{path.name}.rejected"))
            part.replace(path)
        self.verified.add(path, file.sha256)
        self.downloaded.append(file.path)
        return path

    def _nowhere(self, file: RemoteFile, path: Path, problems: list[str]) -> UserError:
        if self.mirror and not (self.mirror / file.path).exists():
            problems.insert(0, f"not in UNROLL_MIRROR={self.mirror}")
        causes = "; ".join(problems) or "no URL publishes it"
        remedy = f"set UNROLL_MIRROR to a folder that holds {file.path}, or put the file at {path}"
        return UserError(f"{file.path}: cannot be fetched: {causes}; {remedy}")


class _StoppedError(Exception):
    """Another file has failed, or the user has pressed Ctrl-C."""


def _several_at_once(run: _Run, files: list[RemoteFile]) -> list[Path]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(run.locate, file) for file in files]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            run.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _mirror() -> Path | None:
    folder = os.environ.get("UNROLL_MIRROR")
    if folder and not Path(folder).is_dir():
        raise UserError(f"UNROLL_MIRROR={folder}: no such folder; correct it or unset it")
    return Path(folder) if folder else None


def _mismatch(place: str, got: str, wanted: str) -> str:
    if got == EMPTY:
        return f"{place}: an empty file (0 bytes)"
    return f"{place}: wrong SHA-256 (got {got[:12]}..., want {wanted[:12]}...)"


@contextmanager
def _progress(label: str, files: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over files and bytes received, on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    name, amount = (TextColumn(f"{{task.{what}}}", markup=False) for what in ("description", "fields[received]"))
    columns = (name, BarColumn(), MofNCompleteColumn(), amount)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=files, received="")
        received = 0

        def advance(finished: int, count: int) -> None:
            nonlocal received
            received += count
            bar.update(task, advance=finished, received=f"{received / 1e6:.1f} MB" if received else "")

        yield advance
