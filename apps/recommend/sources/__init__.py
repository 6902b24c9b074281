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
    """What is known of items beside their clicks."""

    items: list[str]
    """names"""
    titles: list[str]
    """for people; the name where there is none"""
    features: NDArray[np.float32]
    """[N, F]: categories as shares of one, numbers normalised; F may be 0"""


@dataclass(frozen=True, kw_only=True)
class Source(source.Source[[], Log]):
    """A log of clicks, and how it is usually split."""

    protocol: Protocol
    """how it is split unless the user says otherwise"""
    table: Callable[[], Table] | None = None
    """None: nothing is known of the items"""
