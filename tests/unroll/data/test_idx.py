"""Generated IDX files: their contents, or one line that says what is wrong."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from unroll.data import idx
from unroll.errors import UserError

PICTURES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def encoded(values: np.ndarray, kind: int = 0x08, dtype: str = "u1") -> bytes:
    header = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(dtype).tobytes()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refused(path: Path, extents: int = 3) -> str:
    with pytest.raises(UserError) as caught:
        idx.read(path, extents)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_gzip_whatever_the_name(tmp_path, pack):
    path = written(tmp_path / "a", pack(encoded(PICTURES)))
    assert np.array_equal(idx.read(path, 3), PICTURES)


def test_labels(tmp_path):
    assert idx.read(written(tmp_path / "a", encoded(np.array([3, 1, 2]))), 1).tolist() == [3, 1, 2]


@pytest.mark.parametrize(("kind", "dtype"), [(0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_other_types(tmp_path, kind, dtype):
    values = np.array([[-3, 7, 100]])
    found = idx.read(written(tmp_path / "a", encoded(values, kind, dtype)), 2)
    assert found.dtype.isnative
    assert np.array_equal(found, values)


def test_no_values_at_all(tmp_path):
    assert idx.read(written(tmp_path / "a", encoded(np.zeros(0))), 1).shape == (0,)


def test_missing_and_empty(tmp_path):
    assert "No such file" in refused(tmp_path / "none")
    assert "empty (0 bytes)" in refused(written(tmp_path / "a", b""))
    assert "empty (0 bytes)" in refused(written(tmp_path / "a.gz", gzip.compress(b"")))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\nmore", b"\0\0\x07\x03" + b"\0" * 20, b"\0\0"])
def test_wrong_magic_number(tmp_path, content):
    assert f"begins with 0x{content[:4].hex()}" in refused(written(tmp_path / "a", content))


def test_labels_in_the_place_of_pictures(tmp_path):
    path = written(tmp_path / "a", encoded(np.array([3, 1, 2])))
    assert "0x00000801, but an IDX file of bytes with 3 extents begins with 0x00000803" in refused(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_wrong_length(tmp_path, pack):
    whole = encoded(PICTURES)
    assert "24 bytes, but holds only 23" in refused(written(tmp_path / "a", pack(whole[:-1])))
    assert "24 bytes, but holds more" in refused(written(tmp_path / "a", pack(whole + b"\0")))
    assert "within its header (9 bytes)" in refused(written(tmp_path / "a", pack(whole[:9])))


def test_a_header_that_lies_costs_no_memory(tmp_path):
    path = written(tmp_path / "a", b"\0\0\x08\x03" + struct.pack(">3I", 4_000_000_000, 60_000, 60_000))
    assert "far more than it can hold" in refused(path)


def test_gzip_may_grow_as_much_as_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MOST_RATIO_FROM", 1000)
    packed = gzip.compress(encoded(np.zeros((600, 100), np.uint8)))
    assert len(packed) * 200 < 60_000 < len(packed) * 1100
    path = written(tmp_path / "a.gz", packed)
    assert "far more than it can hold" in refused(path, 2)
    monkeypatch.setattr(idx, "MOST_RATIO_FROM", 60_000)
    assert idx.read(path, 2).shape == (600, 100)


def test_truncated_and_damaged_gzip(tmp_path):
    packed = gzip.compress(encoded(np.frombuffer(os.urandom(6000), np.uint8).reshape(10, 20, 30)))
    for size in (len(packed) // 2, len(packed) - 3):
        assert "truncated" in refused(written(tmp_path / "a.gz", packed[:size]))
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    assert "damaged gzip" in refused(written(tmp_path / "b.gz", bytes(damaged)))
    assert "truncated" in refused(written(tmp_path / "c.gz", packed[:5]))
