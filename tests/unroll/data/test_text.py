"""Text in every encoding; and only line ends end lines."""

import gzip
import io
import socket
import sys
from pathlib import Path

import pytest

from unroll.data.text import STANDARD_INPUT, lines, read_lines, read_text
from unroll.errors import UserError

WORDS = "Größe, 大小\nσ\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_by_their_mark_packed_or_not(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = WORDS.encode(encoding)
    (tmp_path / "t.txt").write_bytes(gzip.compress(content) if packed else content)
    assert read_text(tmp_path / "t.txt") == WORDS


def test_utf_16_in_the_other_byte_order(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xfe\xff" + WORDS.encode("utf-16-be"))
    assert read_text(tmp_path / "t.txt") == WORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\r\nb\rcaf\xe9 au lait", r"t\.txt, line 3, byte 8: is not UTF-8 text; save it as UTF-8"),
        (b"\xef\xbb\xbfcaf\xe9", r"t\.txt, line 1, byte 3: is not UTF-8 text"),
        ("a\nb".encode("utf-16")[:-1], r"t\.txt, line 2, byte 6: is not UTF-16 text"),
        ("a\nb".encode("utf-16-le"), r"t\.txt, line 1, byte 1: holds a NUL character"),
        (b"ab\n\xc3\xa9\0", r"t\.txt, line 2, byte 5: holds a NUL character"),
        (b"PK\x03\x04and so on", r"t\.txt: is a ZIP archive or a workbook, not text; save it as CSV"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], r"t\.txt: cannot be read: it is damaged or cut off"),
    ],
)
def test_what_is_no_text_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_text(tmp_path / "t.txt")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"nowhere: cannot be read \(No such file"):
        read_text(Path("nowhere"))


def test_only_line_ends_end_a_line() -> None:
    assert lines("a\u2028b\r\nc\x85d\x0be\rf\x0c\x1cg\n\nh") == ["a\u2028b", "c\x85d\x0be", "f\x0c\x1cg", "", "h"]
    assert lines("") == [] and lines("\n") == [""]


def test_no_byte_order_mark_in_a_line_not_even_of_joined_files() -> None:
    assert lines("\ufeffa\n\ufeffb\ufeff\n") == ["a", "b\ufeff"]


def test_files_that_answer_each_other_line_by_line_keep_a_lone_return() -> None:
    assert lines("a\rb\r\nc\n", only_feeds=True) == ["a\rb", "c"]
    assert lines("a\rb\r", only_feeds=True) == ["a", "b"]


def test_standard_input_may_be_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as file:
        ours.sendall("\ufeffa | b\u2028c\n".encode())
        ours.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        assert read_lines(STANDARD_INPUT) == ["a | b\u2028c"]


def test_standard_input_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    with pytest.raises(UserError, match="standard input, line 1, byte 0: is not UTF-8"):
        read_text(STANDARD_INPUT)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="standard input: is closed"):
        read_text(STANDARD_INPUT)
