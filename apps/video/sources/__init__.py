"""Where clips come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.folders import Split

__all__ = ["Clip", "Frames", "Source"]

Frames = NDArray[np.uint8]
"""[T, C, Y, X], with one channel (grey) or three"""


class Clip(NamedTuple):
    """Some frames and what is named in them."""

    id: str
    """for people: the file, or the number in the built-in data"""
    label: str
    """the class; empty where the source has none"""
    split: Split
    frames: Frames


@dataclass(frozen=True)
class Source:
    """A set of clips that can be read, one by one, any number of times."""

    spec: dict[str, Any]
    """plain JSON values that determine every clip"""
    read: Callable[[], Iterator[Clip]]
    """raises UserError naming the clip that is at fault"""
    notes: tuple[str, ...] = ()
    """what the user should be told of it"""
