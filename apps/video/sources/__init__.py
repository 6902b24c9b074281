"""Where clips come from."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data import source
from unroll.data.source import Split

__all__ = ["Clip", "Frames", "Source"]

Frames = NDArray[np.uint8]
"""[T, C, Y, X], with one channel (grey) or three"""


class Clip(NamedTuple):
    """Some frames and what is named in them."""

    id: str
    """human-readable: the file, or the number in the built-in data"""
    label: str
    """the class; empty if the source has none"""
    split: Split
    frames: Frames


Source = source.Source[[], Iterator[Clip]]
