import errno
import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unroll.data import files
from unroll.data.files import (
    atomic_write,
    gunzip,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from unroll.errors import UserError


def test_json_both_ways(tmp_path: Path) -> None:
    value = {"naïve": [1, 0.1, None, True, "ß"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "naïve" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_rows_both_ways(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "a\nb\u2028"} for number in range(1000)]
    write_jsonl(tmp_path / "rows.jsonl", (row for row in rows))
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == rows


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_such_numbers(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(tmp_path / "a.jsonl", [1, value])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": 1,\n "b" 2}', r"line 2, column \d+: is not JSON"),
        (b"", "line 1, column 1: is not JSON"),
        (b'{"a": "\xe9"}', "is not UTF-8 text"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b"1" * 5000, "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_damaged_json_is_named_with_its_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json.*{complaint}"):
        read_json(tmp_path / "a.json")


def test_damaged_row_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2\n{"a": 3}\n')
    rows = read_jsonl(tmp_path / "a.jsonl")
    assert next(rows) == {"a": 1}
    with pytest.raises(UserError, match=r"a\.jsonl, line 3, column \d+: is not JSON"):
        next(rows)


@pytest.mark.parametrize("read", [read_json, lambda path: list(read_jsonl(path))])
def test_missing_file(tmp_path: Path, read: Any) -> None:
    with pytest.raises(UserError, match=r"absent: cannot be read \(No such file or directory\)"):
        read(tmp_path / "absent")


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def interrupted() -> Iterator[int]:
        yield 1
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, interrupted())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a"
    atomic_write(path, b"old")
    with pytest.raises(UserError, match=f"{path}: the disk is full: {small_disk} has [0-9,]+ bytes left"):
        atomic_write(path, bytes(1_000_000))
    with pytest.raises(UserError, match="the disk is full"):
        write_jsonl(small_disk / "rows.jsonl", ("x" * 100 for _ in range(10_000)))
    assert path.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [path]


def test_read_only_folder(read_only: Path) -> None:
    with pytest.raises(UserError, match="a: cannot be written"):
        atomic_write(read_only / "a", b"new")


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent/a: cannot be written \(No such file or directory\)"):
        atomic_write(tmp_path / "absent/a", b"new")


def test_error_of_the_rows_is_not_taken_for_one_of_writing(tmp_path: Path) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "somewhere else")

    with pytest.raises(PermissionError, match="somewhere else"):
        write_jsonl(tmp_path / "rows.jsonl", rows())


def test_a_packed_file_comes_to_what_it_holds(tmp_path: Path) -> None:
    content = b"one two three\n" * 300_000
    packed = gzip.compress(content[:1_000_000]) + gzip.compress(content[1_000_000:])  # gzip files may be joined
    assert b"".join(gunzip(tmp_path / "a.gz", io.BytesIO(packed), len(packed))) == content


def test_a_decompression_bomb_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_RATIO_FROM", 1 << 20)
    packed = gzip.compress(bytes(8 << 20))
    pieces = gunzip(tmp_path / "a.gz", io.BytesIO(packed), len(packed))
    assert len(next(pieces)) == 1 << 20
    with pytest.raises(UserError, match=r"a\.gz: expands more than 200 times when unpacked"):
        list(pieces)


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"\x1f\x8b" + bytes(40)])
def test_a_damaged_packed_file(tmp_path: Path, damage: Any) -> None:
    packed = damage(gzip.compress(b"text" * 1000))
    with pytest.raises(UserError, match=r"a\.gz: cannot be read: it is damaged or cut off"):
        list(gunzip(tmp_path / "a.gz", io.BytesIO(packed), len(packed)))


def test_what_is_written_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path: Path, disk: Any) -> None:
    """After a power cut there is the old file or the whole new one, not a name with nothing behind it."""
    path = tmp_path / "file.bin"
    atomic_write(path, bytes(12_345))
    assert list(disk.flushed_before(path).values()) == [12_345]
    assert disk.flushed_after(path) == [str(tmp_path)]
