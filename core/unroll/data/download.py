"""Downloads one URL to one file, with pooch's HTTP downloader, resuming what an earlier attempt left behind."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import requests
import urllib3
from pooch import HTTPDownloader

from unroll.data.files import write_error

TIMEOUT = (10.0, 30.0)
"""seconds to connect, and between two pieces of a response"""
PIECE = 8192
"""bytes written at a time, and lost at most when the connection is cut"""
BUSY = (429, 502, 503, 504)
"""status codes of a server that may serve the file a moment later"""
PAUSE = 1.0
"""seconds before the first retry; doubled each time"""
ATTEMPTS = 4
"""attempts in a row without a new byte before giving up on a URL"""


class UnavailableError(Exception):
    """The file is not available from this location; the message says where and why. Another one may have it."""


def download(url: str, part: Path, progress: Callable[[int], None]) -> None:
    """Download `url` into `part`, keeping the bytes that are already there if the server can continue from them.

    A lost connection is retried as long as each attempt brings new bytes. `progress` is called with the number of
    bytes of each piece.

    Raises:
        UnavailableError: no connection, an HTTP error, a timeout. What was received stays in `part`.
        UserError: the disk is full, or `part` cannot be written.
    """
    in_vain = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part, progress)
        except requests.RequestException as error:
            if _size(part) > before:
                in_vain = 0
                continue
            in_vain += 1
            if in_vain == ATTEMPTS or _status(error) not in BUSY:
                _drop_if_empty(part)
                raise UnavailableError(f"{url}: {_cause(error)}") from error
            time.sleep(PAUSE * 2 ** (in_vain - 1))


class _Part:
    """The partial file as pooch's downloader sees it: appended to, or restarted if the server says so."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self.path = path
        self.progress = progress
        self.missing = 0
        """bytes to come"""

    def __enter__(self) -> Self:
        self.response: requests.Response | None = None
        self.file = self.path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        if self.response is not None:
            self.response.close()  # an interrupted response would keep its socket open
        self.file.close()

    def on_response(self, response: requests.Response, *_: object, **__: object) -> None:
        self.response = response
        self.missing = response.raw.length_remaining or 0
        if response.status_code == requests.codes.ok:  # not 206: the response is the whole file
            self.file.truncate(0)

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self.missing -= len(piece)
        self.progress(len(piece))

    def flush(self) -> None:
        self.file.flush()


def _attempt(url: str, path: Path, progress: Callable[[int], None]) -> None:
    headers = {"Accept-Encoding": "identity"}  # an offset in a compressed response is not one in the file
    if have := _size(path):
        headers["Range"] = f"bytes={have}-"
    part = _Part(path, progress)
    fetch = HTTPDownloader(chunk_size=PIECE, timeout=TIMEOUT, headers=headers, hooks={"response": part.on_response})
    try:
        with part:
            fetch(url, part, None)
    except requests.RequestException as error:
        if not _is_past_end(error):
            raise
    except OSError as error:
        raise write_error(path, error, part.missing) from error


def _drop_if_empty(part: Path) -> None:
    if _size(part) == 0:
        part.unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _status(error: requests.RequestException) -> int | None:
    return None if error.response is None else error.response.status_code


def _is_past_end(error: requests.RequestException) -> bool:
    """Whether all bytes were there already (killed before the rename); the checksum tells whether they are right."""
    return _status(error) == requests.codes.requested_range_not_satisfiable


def _cause(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    stalled = isinstance(next(iter(error.args), None), urllib3.exceptions.ReadTimeoutError)  # in the middle of the file
    if stalled or isinstance(error, requests.Timeout):
        return f"no answer within {max(TIMEOUT):g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
