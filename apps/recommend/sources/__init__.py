"""Where logs of clicks come from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.data import source

from ..events import Log, Protocol

__all__ = ["Source", "Table"]


@dataclass(frozen=True)
class Table:
    """What is known about items besides their clicks."""

    items: list[str]
    """names"""
    titles: list[str]
    """human-readable; the name if there is no title"""
    features: NDArray[np.float32]
    """[N, F]: categories as fractions that sum to 1, numbers normalised; F may be 0"""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Log]):
    """A log of clicks, and its default split."""

    protocol: Protocol
    """the split unless the user sets another one"""
    table: Callable[[], Table] | None = None
    """None: nothing is known about the items"""
