"""Arrays as .npy files: written atomically and without pickles, read memory-mapped."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unroll.data.files import atomic_file, writing
from unroll.errors import UserError


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write each array to `folder/NAME.npy`. Raises TypeError for Python objects, UserError like `atomic_file`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name}.npy: dtype {array.dtype} holds Python objects, which only pickle can store")
        # numpy.save's error does not say that the disk is full.
        write_rows(folder / f"{name}.npy", [array], array.shape, array.dtype)


def write_rows(path: Path, rows: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Write an .npy file row by row, so that it may be larger than memory.

    Args:
        path: of the file.
        rows: arrays whose concatenation is the whole.
        shape: of the whole.
        dtype: of the whole; rows of another dtype are converted.

    Raises:
        UserError: as in `atomic_file`.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with atomic_file(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype=dtype).reshape(-1).view(np.uint8).data)


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `write_arrays` wrote, read-only and memory-mapped: opening is free, and processes share pages.

    Raises:
        UserError: there are none, or one is damaged.
    """
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise UserError(f"{folder}: holds no arrays (*.npy)")
    return {path.stem: _map_array(path) for path in paths}


def _map_array(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy parses the header with Python's own tokenizer, which raises errors of many kinds
        raise UserError(f"{path}: is damaged: not an intact .npy file") from error
