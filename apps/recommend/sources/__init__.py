"""Where logs of clicks come from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Source:
    """A log that can be read, and how it is usually split."""

    spec: dict[str, Any]
    """plain JSON values that determine every event"""
    protocol: Protocol
    """how it is split unless the user says otherwise"""
    read: Callable[[], Log]
    """raises UserError naming the file, column or row that is at fault"""
    table: Callable[[], Table] | None = None
    """None: nothing is known of the items"""
