"""Numbers that a program hands over: an array, or lists in lists, as JSON has them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array(value: object) -> NDArray[Any] | None:
    """The value as an array of integers, floating-point numbers or booleans; None for whatever is no such thing."""
    if not isinstance(value, np.ndarray | list | tuple):
        return None
    try:
        found = np.asarray(value)
    except ValueError:  # lists of several lengths
        return None
    return found if found.dtype.kind in "buif" else None
