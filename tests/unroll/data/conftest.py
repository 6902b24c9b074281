"""A local web server that can misbehave on request, and folders that are too small or not writable."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class Site:
    """What the server holds and how it behaves; `log` lists (path, Range header) of every request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.ranges = True
        self.cuts: list[int] = []
        """how many bytes the next answers send before they are cut off, one entry per answer"""
        self.statuses: list[int] = []
        """error status of the next answers, one entry per answer; then 200"""
        self.stall: threading.Event | None = None
        """answers send half, and the rest after this event"""
        self.seconds = 0.0
        """delay before each answer"""
        self.together: threading.Barrier | None = None
        """answers wait until others are asked for at the same time"""
        self.log: list[tuple[str, str | None]] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.log.append((request.path, asked))
        time.sleep(self.seconds)
        if self.together:
            self.together.wait()
        content = self.files.get(request.path)
        status = self.statuses.pop(0) if self.statuses else 200 if content is not None else 404
        if status != 200 or content is None:
            return request.send_error(status)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else None
        if start is not None and start >= len(content):
            return request.send_error(416)
        body = content[start or 0 :]
        request.send_response(200 if start is None else 206)
        request.send_header("Content-Length", str(len(body)))
        if start is not None:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if self.stall:
            request.wfile.write(body[: len(body) // 2])
            self.stall.wait()
            body = body[len(body) // 2 :]
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the client has gone
                site.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with mounted(tmp_path / "small", "size=256k") as folder:
        yield folder


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write to. For root, whom no permission bit stops, a read-only mount."""
    if os.geteuid() == 0:
        with mounted(tmp_path / "read-only", "ro") as folder:
            yield folder
    else:
        folder = tmp_path / "read-only"
        folder.mkdir(mode=0o555)
        yield folder
        folder.chmod(0o755)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNROLL_MIRROR", "UNROLL_DATA", "FORCE_COLOR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Disk:
    """Records in their order what is flushed to the disk, by name and size then, and what is renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, str, int]] = []
        fsync, replace, rename = os.fsync, Path.replace, Path.rename

        def flushed(file: int) -> None:
            self.events.append(("flushed", os.readlink(f"/proc/self/fd/{file}"), os.fstat(file).st_size))
            fsync(file)

        def moved(move: Any) -> Any:
            def moving(source: Path, target: Path) -> Path:
                self.events.append(("renamed", str(target), 0))
                done: Path = move(source, target)
                return done

            return moving

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(Path, "replace", moved(replace))
        monkeypatch.setattr(Path, "rename", moved(rename))

    def flushed_before(self, target: Path) -> dict[str, int]:
        """File names and sizes as they were flushed before something became `target`."""
        end = self.events.index(("renamed", str(target), 0))
        return {Path(name).name: size for kind, name, size in self.events[:end] if kind == "flushed"}

    def flushed_after(self, target: Path) -> list[str]:
        """Paths that were flushed after that."""
        start = self.events.index(("renamed", str(target), 0))
        return [name for kind, name, _ in self.events[start:] if kind == "flushed"]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
