"""Moving MNIST: 10,000 sequences of 20 frames, 64 x 64, two digits that bounce (Srivastava et al. 2015).

The only published file is the test set of the paper, which generates its training data. Here its first 80 % are train,
the next 10 % val, the last 10 % test, so results are not comparable with those of models trained on generated data.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unroll.data import images
from unroll.data.fetch import RemoteFile
from unroll.data.files import sha256
from unroll.data.source import SPLITS
from unroll.data.store import Store
from unroll.errors import UserError

from . import Clip, Source

FILE = RemoteFile(
    "moving-mnist/mnist_test_seq.npy",
    ("http://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy",),
    # According to TensorFlow Datasets; 819,200,096 bytes.
    "c2a3e8d3939c001ab77bf543f130157424efa486bb4d0974d2cebb773b13f8b3",
)


def source(store: Store, path: Path | None, size: int) -> Source:
    """The published file, verified by its checksum; or the user's file of the same form at `path`, uint8 [T, N, Y, X].

    Raises:
        UserError: it cannot be downloaded, or is not of that form.
    """
    file = path or store.fetch(FILE)
    sequences = _open(file)
    content = FILE.sha256 if path is None else sha256(file)
    spec = {"source": "moving-mnist", "size": size, "content": content, "split": "by number of the sequence"}
    return Source(spec, partial(_read, sequences, size))


def _open(file: Path) -> NDArray[np.uint8]:
    try:
        sequences: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: is not an intact .npy file ({str(error).splitlines()[0]}); copy it again") from error
    shape = " x ".join(map(str, sequences.shape))
    if sequences.dtype != np.uint8 or sequences.ndim != 4 or sequences.shape[1] < 10 or not sequences.size:
        raise UserError(
            f"{file}: holds {shape} values of type {sequences.dtype}; Moving MNIST is uint8, frames x sequences x "
            f"height x width (20 x 10000 x 64 x 64), of ten sequences at least"
        )
    return sequences


def _read(sequences: NDArray[np.uint8], size: int) -> Iterator[Clip]:
    count = sequences.shape[1]
    for number in range(count):
        split = SPLITS[sum(number >= share * count for share in (0.8, 0.9))]
        frames = [images.pixels(Image.fromarray(frame), (size, size)) for frame in sequences[:, number]]
        yield Clip(f"sequence {number}", "", split, np.stack(frames)[:, None])
