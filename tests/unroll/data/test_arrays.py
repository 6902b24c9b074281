from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from unroll.data.arrays import read_arrays, write_arrays, write_rows
from unroll.errors import UserError

ARRAYS = {
    "frames": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns_first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "every_other": np.arange(20)[::2],
    "lengths": np.array([], dtype=np.int64),
    "nothing_wide": np.zeros((0, 80), dtype=np.float16),
    "scalar": np.array(3, dtype=np.int8),
    "flags": np.array([True, False]),
    "words": np.array(["sieben", "drei"]),
    "big_endian": np.arange(5, dtype=">i4"),
}


def test_arrays_come_back_memory_mapped(tmp_path: Path) -> None:
    write_arrays(tmp_path / "arrays", ARRAYS)
    arrays = read_arrays(tmp_path / "arrays")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert isinstance(arrays[name], np.memmap)
        assert not arrays[name].flags.writeable
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array)


def test_arrays_of_objects_are_refused_both_ways(tmp_path: Path) -> None:
    objects = np.array([{}, []], dtype=object)
    with pytest.raises(TypeError, match="pickle"):
        write_arrays(tmp_path, {"objects": objects})
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    with pytest.raises(UserError, match=r"objects\.npy: is damaged"):
        read_arrays(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 100, 150])
def test_truncated_array(tmp_path: Path, size: int) -> None:
    write_arrays(tmp_path, {"frames": ARRAYS["frames"]})
    content = (tmp_path / "frames.npy").read_bytes()
    (tmp_path / "frames.npy").write_bytes(content[:size])
    with pytest.raises(UserError, match=r"frames\.npy: is damaged"):
        read_arrays(tmp_path)


def test_zip_file_is_no_array(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, a=ARRAYS["frames"])
    with pytest.raises(UserError, match=r"a\.npy: is damaged"):
        read_arrays(tmp_path)


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_to_an_array_is_found_or_harmless(tmp_path: Path, seed: int) -> None:
    write_arrays(tmp_path, {"a": ARRAYS["frames"]})
    content = bytearray((tmp_path / "a.npy").read_bytes())
    random = np.random.default_rng(seed)
    for position in random.integers(0, len(content), size=random.integers(1, 4)):
        content[position] = random.integers(0, 256)
    (tmp_path / "a.npy").write_bytes(content)
    with suppress(UserError):
        [read] = read_arrays(tmp_path).values()
        assert len(read.tobytes()) < len(content), "what is read is in the file"


def test_no_arrays(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no arrays"):
        read_arrays(tmp_path / "absent")


def test_rows_of_any_kind_make_one_file(tmp_path: Path) -> None:
    rows = (row[::-1] for row in ARRAYS["frames"])
    write_rows(tmp_path / "rows.npy", rows, (3, 4), np.float16)
    [(name, read)] = read_arrays(tmp_path).items()
    assert name == "rows"
    assert read.dtype == np.float16
    assert np.array_equal(read, ARRAYS["frames"][:, ::-1])


def test_full_disk(small_disk: Path) -> None:
    with pytest.raises(UserError, match="the disk is full"):
        write_arrays(small_disk, {"large": np.zeros(1_000_000)})
    assert not list(small_disk.iterdir())
