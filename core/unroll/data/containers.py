"""Detects truncated audio and video files by the size that the container declares.

A number of frames or a duration is often an estimate, for example with a variable frame rate; the size that a container
declares is not. Sizes that a writer left open, because it could not seek back to the start of the file, are ignored.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

SLACK = 1024
"""bytes, but at most a fiftieth of the size, that a complete file may lack: some writers count their header twice"""
MOST_PARTS = 100_000
"""most boxes or chunks that are examined; a malicious file may have one every eight bytes"""
OPEN = frozenset({0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000})
"""32-bit sizes that mean "unknown", besides those near 2 ** 32; see `_known`"""
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""id of the object whose first 24 bytes are followed by the file's size; ASF specification 1.2, section 3.2"""
WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def declared_size(path: Path) -> int | None:
    """Declared size in bytes of a RIFF (WAV, AVI), Wave64, AIFF, AU, MP4, Matroska or ASF file; None if not declared.

    Reads only the few bytes that declare it. Raises OSError if they cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        for recognised, size in _KINDS:
            if recognised(head):
                return size(file)
    return None


def _known(size: int) -> bool:
    return size not in OPEN and size < 0xFFFFFF00


def _chunks(file: IO[bytes], order: Literal["little", "big"]) -> int | None:
    """RIFF and AIFF: the end of the sound chunk, else of the outermost one."""
    kind = file.read(12)
    size = int.from_bytes(kind[4:8], order)
    if kind[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        for _ in range(MOST_PARTS):
            head = file.read(8)
            if len(head) < 8:
                break
            inner = int.from_bytes(head[4:], order)
            if head[:4] in (b"data", b"SSND"):
                return file.tell() + inner if _known(inner) else None
            file.seek(inner + inner % 2, os.SEEK_CUR)
    return 8 + size if _known(size) else None


def _au(file: IO[bytes]) -> int | None:
    head = file.read(12)
    size = int.from_bytes(head[8:], "big")
    return int.from_bytes(head[4:8], "big") + size if _known(size) else None


def _boxes(file: IO[bytes]) -> int | None:
    """The end of MP4's last box. Trailing bytes that are not a box do not count."""
    end = 0
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8 or not (head[4:].isascii() and head[4:].isalnum()):
            break
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if not 8 <= size < 1 << 56:  # 0: up to the end of the file
            break
        end += size
        file.seek(end)
    return end or None


def _matroska(file: IO[bytes]) -> int | None:
    for id in (EBML, SEGMENT):
        if file.read(4) != id:
            return None
        size = _variable(file)
        if size is None:
            return None
        end = file.tell() + size
        file.seek(end if id == EBML else 0)
    return end


def _variable(file: IO[bytes]) -> int | None:
    """EBML's variable-length number; all ones means unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = 7 * length
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _wave64(file: IO[bytes]) -> int | None:
    return int.from_bytes(file.read(24)[16:], "little") or None


def _asf(file: IO[bytes]) -> int | None:
    head = file.read(1 << 13)
    at = head.find(ASF_PROPERTIES)
    return int.from_bytes(head[at + 40 : at + 48], "little") or None if at >= 0 else None


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[IO[bytes]], int | None]], ...] = (
    (lambda head: head[:4] == b"RIFF", lambda file: _chunks(file, "little")),
    (lambda head: head[:4] == b"FORM", lambda file: _chunks(file, "big")),
    (lambda head: head[:4] == b".snd", _au),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"), _boxes),
    (lambda head: head[:4] == EBML, _matroska),
    (lambda head: head[:16] == ASF_HEADER, _asf),
    (lambda head: head[:16] == WAVE64, _wave64),
)


def _within_a_page(path: Path) -> bool:
    """Whether an Ogg file ends within one of its pages, which are at most 64 KiB and give their length (RFC 3533)."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - (1 << 17)))
        page = file.read()
    page = page[max(page.rfind(b"OggS"), 0) :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def lacking(path: Path) -> str | None:
    """A description of what a truncated file lacks; None if it is complete, or does not declare its length."""
    if _within_a_page(path):
        return "is truncated: ends within a page"
    declared, held = declared_size(path), path.stat().st_size
    if declared is None or declared - held <= min(SLACK, declared // 50):
        return None
    return f"is truncated: holds {held:,} of the {declared:,} bytes that it declares"
