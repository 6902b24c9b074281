"""One URL into one file, through pooch's HTTP downloader, going on from what an earlier attempt left behind."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import urllib3
from pooch import HTTPDownloader

from core.data.files import write_error

TIMEOUT = (10.0, 30.0)
"""seconds to connect, and between two pieces of an answer"""
BUSY = (429, 502, 503, 504)
"""answers of a server that may well serve the file a moment later"""
PAUSE = 1.0
"""seconds before asking a busy server again; doubled each time"""
ATTEMPTS = 4
"""in a row without a single new byte, before a URL is given up"""


class UnavailableError(Exception):
    """The file cannot be had from this place; the text says where and why. Another place may have it."""


def download(url: str, part: Path, progress: Callable[[int], None]) -> None:
    """Fetch `url` into `part`, keeping the bytes that are already there when the server can go on from them.

    A cut connection is taken up again as long as each attempt brings something. `progress` is called with the number
    of bytes of each piece.

    Raises:
        UnavailableError: no connection, an HTTP error, a time-out. What was received stays in `part` for the next attempt.
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
                raise UnavailableError(f"{url}: {_cause(error)}") from error
            time.sleep(PAUSE * 2 ** (in_vain - 1))


class _Part:
    """The half-downloaded file as pooch's downloader sees it: appended to, or begun anew if the server says so."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self.file = path.open("ab")
        self.progress = progress
        self.missing = 0
        """bytes to come"""

    def on_response(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.missing = int(response.headers.get("Content-Length", 0))
        if response.status_code == requests.codes.ok:  # and not 206: the answer is the whole file
            self.file.truncate(0)

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self.missing -= len(piece)
        self.progress(len(piece))

    def flush(self) -> None:
        self.file.flush()


def _attempt(url: str, part: Path, progress: Callable[[int], None]) -> None:
    missing = 0
    try:
        have = _size(part)
        target = _Part(part, progress)
        try:
            _request(url, target, have)
        finally:
            missing = target.missing
            target.file.close()
    except requests.RequestException as error:
        if not _is_past_end(error):
            raise
    except OSError as error:
        raise write_error(part, error, missing) from error


def _request(url: str, target: _Part, have: int) -> None:
    headers = {"Accept-Encoding": "identity"}  # a position in a compressed answer is none in the file
    if have:
        headers["Range"] = f"bytes={have}-"
    fetch = HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT, headers=headers, hooks={"response": target.on_response})
    fetch(url, target, None)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _status(error: requests.RequestException) -> int | None:
    return None if error.response is None else error.response.status_code


def _is_past_end(error: requests.RequestException) -> bool:
    """Whether all bytes were there already (killed before the renaming): the checksum tells whether the right ones."""
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
