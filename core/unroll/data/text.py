"""Text as people have it: gzipped or not, in UTF-8 or with a byte order mark, with the line ends of any system.

All text from the user is read here: files, and standard input (`STANDARD_INPUT`).
"""

import codecs
import re
import sys
from io import BytesIO
from pathlib import Path

from unroll.data.files import gunzip
from unroll.errors import UserError

STANDARD_INPUT = Path("-")
"""what `--file -` names: a pipe, a socket or a redirected file"""
GZIP = b"\x1f\x8b"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""byte order marks and their encodings"""
OTHERS = {b"PK\x03\x04": "a ZIP archive or a workbook", b"PAR1": "a Parquet file", b"\xd0\xcf\x11\xe0": "a workbook"}
"""first bytes of files that users mistake for text"""
LINE_ENDS = re.compile("\r\n|\r|\n")


def called(path: Path) -> str:
    """The file's name in messages."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def read_bytes(path: Path) -> bytes:
    """The content of a file or of standard input, unpacked if it is gzip, whatever its name.

    Raises:
        UserError: it cannot be read, is damaged, or expands implausibly when unpacked.
    """
    if path == STANDARD_INPUT and sys.stdin is None:
        raise UserError("standard input: is closed; name a file")
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise UserError(f"{called(path)}: cannot be read ({error.strerror or error})") from None
    if content.startswith(GZIP):
        return b"".join(gunzip(Path(called(path)), BytesIO(content), len(content)))
    return content


def read_text(path: Path) -> str:
    """The text of a file or of standard input, without a byte order mark.

    UTF-8, unless a byte order mark says UTF-16 or UTF-32; line ends are kept.

    Raises:
        UserError: as in `read_bytes`; it is not UTF-8, or holds a NUL character (with the line and the byte).
    """
    return decode(path, read_bytes(path))


def decode(path: Path, content: bytes) -> str:
    """The text of the `content` of `path`; see `read_text`."""
    for start, kind in OTHERS.items():
        if content.startswith(start):
            raise UserError(f"{called(path)}: is {kind}, not text; save it as CSV or as text")
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="ignore")
        kind = {"utf-8-sig": "UTF-8"}.get(encoding, encoding.upper())
        where = f"line {_line(before):,}, byte {error.start:,}"
        raise UserError(f"{called(path)}, {where}: is not {kind} text; save it as UTF-8") from None
    if (nul := text.find("\0")) >= 0:
        where = f"line {_line(text[:nul]):,}, byte {len(text[:nul].encode()):,}"
        raise UserError(f"{called(path)}, {where}: holds a NUL character, so it is not text; save it as UTF-8")
    return text


def lines(text: str, *, only_feeds: bool = False) -> list[str]:
    r"""The lines of a text, without their ends, which are \n, \r\n or \r.

    Unicode's other line ends (U+2028, U+0085, \x0b and others) may occur within a sentence and are kept. A byte order
    mark is never part of a line, not even in the middle of concatenated files.

    Args:
        text: see `read_text`.
        only_feeds: if there is any \n, a lone \r is an ordinary character: for files that are parallel line by line.
    """
    if only_feeds and "\n" in text:
        found = [line.removesuffix("\r") for line in text.split("\n")]
    else:
        found = LINE_ENDS.split(text)
    return [line.removeprefix("\ufeff") for line in (found[:-1] if found[-1] == "" else found)]


def read_lines(path: Path, *, only_feeds: bool = False) -> list[str]:
    """The lines of a file or of standard input; see `lines`. Raises UserError like `read_text`."""
    return lines(read_text(path), only_feeds=only_feeds)


def _line(before: str) -> int:
    return len(LINE_ENDS.split(before))
