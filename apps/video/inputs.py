"""What `predict` takes beside the name of a file or folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from unroll.data import images, numbers
from unroll.data.images import Picture, is_picture
from unroll.values import Value, is_path

Clip = Sequence[Picture] | NDArray[np.generic]
Input = str | Path | Clip


def is_clip(value: object) -> TypeIs[Clip]:
    """Whether a value is some frames: pictures, or an array of them."""
    if isinstance(value, list | tuple) and value and all(map(is_picture, value)):
        return True
    found = numbers.array(value)
    return found is not None and found.ndim in (3, 4) and (found.ndim == 3 or found.shape[-1] in (1, 3, 4))


def _clip(folder: str) -> Clip:
    return [images.load(file) for file in sorted(Path(folder).glob("*.png"))]


VALUES = (
    Value[Path]("the path of a clip: a video file or a folder of numbered frames", is_path, Path),
    Value[Clip]("frames: a list or tuple of pictures, or an array [T, H, W] or [T, H, W, 1, 3 or 4]", is_clip, _clip),
)
