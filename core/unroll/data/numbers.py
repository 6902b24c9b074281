"""Numbers from programs: an array, or nested lists, as in JSON."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array(value: object) -> NDArray[Any] | None:
    """The value as an array of integers, floating-point numbers or booleans; None for anything else."""
    if not isinstance(value, np.ndarray | list | tuple):
        return None
    try:
        found = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    return found if found.dtype.kind in "buif" else None
