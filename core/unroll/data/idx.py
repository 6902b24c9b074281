"""IDX, the format of MNIST's files: a magic number, the extents, then the values, big-endian; often gzipped.

Source: yann.lecun.com/exdb/mnist, "The IDX file format". Magic number: two zero bytes, the type, the number of extents.
"""

import gzip
import math
import struct
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.files import MOST_RATIO, MOST_RATIO_FROM
from unroll.errors import UserError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""dtype of the values, by the third byte of the magic number"""


def read(path: Path, extents: int) -> NDArray[Any]:
    """The array in an IDX file, plain or gzipped (detected by its first bytes, not its name), in native byte order.

    Args:
        path: the file.
        extents: number of dimensions: 3 for grey pictures [N, height, width], 1 for labels [N].

    Raises:
        UserError: names the file and the cause: missing, empty, another magic number, fewer or more values than
            declared, a truncated or damaged gzip file.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        size = path.stat().st_size
        most = max(MOST_RATIO * size, MOST_RATIO_FROM) if packed else size
        with gzip.open(path) if packed else path.open("rb") as file:
            return _read(path, file, extents, most)
    except EOFError as error:
        raise UserError(f"{path}: is truncated (its gzip stream has no end); fetch or copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: is a damaged gzip file ({error}); fetch or copy it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _read(path: Path, file: gzip.GzipFile | BufferedReader, extents: int, most: int) -> NDArray[Any]:
    header = file.read(4 + 4 * extents)
    if not header:
        raise UserError(f"{path}: is empty (0 bytes); fetch or copy it again")
    magic = header[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] != extents:
        raise UserError(
            f"{path}: begins with 0x{magic.hex()}, but an IDX file of bytes with {extents} extents begins with "
            f"0x000008{extents:02x}; is it another file?"
        )
    if len(header) < 4 + 4 * extents:
        raise UserError(f"{path}: ends within its header ({len(header)} bytes); fetch or copy it again")
    shape, kind = struct.unpack(f">{extents}I", header[4:]), np.dtype(TYPES[magic[2]])
    declared = math.prod(shape) * kind.itemsize
    if declared > most:
        raise UserError(f"{path}: declares {_extents(shape)} values, far more than it can hold; fetch or copy it again")
    content = file.read(declared + 1)
    if len(content) != declared:
        problem = f"holds only {len(content):,}" if len(content) < declared else "holds more"
        raise UserError(f"{path}: declares {_extents(shape)} values, {declared:,} bytes, but {problem}")
    return np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="))


def _extents(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{extent:,}" for extent in shape)
