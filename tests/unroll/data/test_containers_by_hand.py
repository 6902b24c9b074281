"""What containers declare of their size, byte by byte, and by how much a file may fall short of it."""

from pathlib import Path

import pytest

from unroll.data import containers
from unroll.data.containers import ASF_HEADER, ASF_PROPERTIES, WAVE64, declared_size, lacking


def little(number: int, size: int = 4) -> bytes:
    return number.to_bytes(size, "little")


def big(number: int, size: int = 4) -> bytes:
    return number.to_bytes(size, "big")


def chunk(name: bytes, content: bytes, order: str) -> bytes:
    size = little(len(content)) if order == "little" else big(len(content))
    return name + size + content + b"\0" * (len(content) % 2)


FORMAT = chunk(b"fmt ", b"x" * 17, "little")  # an odd one is followed by a zero
COMMON = chunk(b"COMM", b"x" * 19, "big")
BOXES = big(24) + b"ftyp" + b"x" * 16
SIZES = {
    "wav": (b"RIFF" + little(99) + b"WAVE" + FORMAT + b"data" + little(5000), 12 + 26 + 8 + 5000),
    "wav without sound": (b"RIFF" + little(99) + b"WAVE" + FORMAT, 107),
    "wav of unknown sound": (b"RIFF" + little(99) + b"WAVE" + FORMAT + b"data" + little(0xFFFFFFFF), None),
    "wav of almost 4 GiB": (b"RIFF" + little(99) + b"WAVE" + b"data" + little(0xFFFFFEFF), 20 + 0xFFFFFEFF),
    "wav that was left open": (b"RIFF" + little(99) + b"WAVE" + b"data" + little(0xFFFFFF00), None),
    "avi": (b"RIFF" + little(7000) + b"AVI LIST", 7008),
    "avi of unknown size": (b"RIFF" + little(0) + b"AVI LIST", None),
    "aiff": (b"FORM" + big(99) + b"AIFF" + COMMON + b"SSND" + big(4000), 12 + 28 + 8 + 4000),
    "aifc": (b"FORM" + big(99) + b"AIFC" + b"SSND" + big(4000), 20 + 4000),
    "another form": (b"FORM" + big(600) + b"ILBM" + b"SSND" + big(4000), 608),
    "au": (b".snd" + big(32) + big(9000), 9032),
    "au of unknown size": (b".snd" + big(32) + big(0xFFFFFFFF), None),
    "mp4": (BOXES + big(800) + b"moov", 824),
    "mp4 of a large box": (BOXES + big(1) + b"mdat" + big(7 << 32, 8), 24 + (7 << 32)),
    "mp4 to the end of the file": (BOXES + big(0) + b"mdat", 24),
    "mp4 with a box that is none": (BOXES + big(8) + b"fr\0e" + big(800) + b"moov", 24),
    "mp4 with an empty box": (BOXES + big(8) + b"free" + big(800) + b"moov", 832),
    "mp4 with too small a box": (BOXES + big(7) + b"free", 24),
    "mp4 beyond all bounds": (BOXES + big(1) + b"mdat" + big(1 << 56, 8), 24),
    "mp4 of nothing": (big(0) + b"mdat", None),
    "matroska": (b"\x1a\x45\xdf\xa3\x85xxxxx\x18\x53\x80\x67" + bytes([0x50, 0x20]), 16 + 0x1020),
    "matroska of eight bytes": (
        b"\x1a\x45\xdf\xa3\x40\x01x\x18\x53\x80\x67" + bytes([0x01]) + big(1 << 33, 7), 19 + (1 << 33)
    ),
    "matroska of unknown size": (b"\x1a\x45\xdf\xa3\x85xxxxx\x18\x53\x80\x67" + bytes([0x01]) + b"\xff" * 7, None),
    "matroska of one unknown byte": (b"\x1a\x45\xdf\xa3\x85xxxxx\x18\x53\x80\x67\xff", None),
    "matroska of a wrong byte": (b"\x1a\x45\xdf\xa3\x85xxxxx\x18\x53\x80\x67\x00", None),
    "matroska of another element": (b"\x1a\x45\xdf\xa3\x85xxxxx\x18\x53\x80\x68\x85", None),
    "wave64": (WAVE64 + little(123456, 8), 123456),
    "wave64 left open": (WAVE64 + little(0, 8), None),
    "asf": (ASF_HEADER + b"x" * 30 + ASF_PROPERTIES + b"y" * 24 + little(77777, 8), 77777),
    "asf without properties": (ASF_HEADER + b"x" * 100, None),
    "text": (b"nothing of the kind", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", SIZES)
def test_declared_sizes(kind: str, tmp_path: Path) -> None:
    content, wanted = SIZES[kind]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert declared_size(path) == wanted


@pytest.mark.parametrize("number", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
def test_sizes_that_stand_for_unknown(number: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for near, known in ((number, False), (number + 1, number != 0x7FFFFFFF)):
        path.write_bytes(b"RIFF" + little(near) + b"AVI LIST")
        assert (declared_size(path) is not None) == known


@pytest.mark.parametrize(
    ("declared", "held", "whole"),
    [
        (10_000, 9_800, True),
        (10_000, 9_799, False),
        (100_000, 98_976, True),
        (100_000, 98_975, False),
        (500, 900, True),
    ],
)
def test_how_much_a_whole_file_may_lack(declared: int, held: int, whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes((b"RIFF" + little(declared - 8) + b"AVI LIST").ljust(held, b"\0"))
    said = None if whole else f"is truncated: holds {held:,} of the {declared:,} bytes that it declares"
    assert lacking(path) == said


def test_of_endless_parts_only_so_many_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MOST_PARTS", 3)
    path = tmp_path / "file"
    path.write_bytes(b"RIFF" + little(92) + b"WAVE" + chunk(b"a   ", b"", "little") * 3 + b"data" + little(50))
    assert declared_size(path) == 100
    path.write_bytes((big(8) + b"free") * 5)
    assert declared_size(path) == 24


def page(segments: list[int], body: int) -> bytes:
    return b"OggS" + b"\0" * 22 + bytes([len(segments)]) + bytes(segments) + b"x" * body


@pytest.mark.parametrize(
    ("last", "whole"),
    [
        (page([5, 7], 12), True),
        (page([5, 7], 11), False),
        (page([5, 7], 13), True),  # what is behind it is none of a page
        (page([], 0), True),
        (page([], 0)[:-1], False),
        (page([255] * 255, 255 * 255), True),
        (page([255] * 255, 255 * 255)[:-1], False),
    ],
)
def test_the_last_page_is_whole_or_not(last: bytes, whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(page([250] * 200, 50_000) * 3 + last)
    assert lacking(path) == (None if whole else "is truncated: ends within a page")
    path.write_bytes(last)
    assert lacking(path) == (None if whole else "is truncated: ends within a page")
    path.write_bytes(b"x" + last)
    assert lacking(path) is None
