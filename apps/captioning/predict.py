"""Captions of what the user gives."""

from collections.abc import Sequence
from typing import Any

import torch

from unroll.data import images

from .decode import write
from .model import Captioner

AT_ONCE = 64
"""pictures that are read and described at a time"""


def predict(model: Captioner, inputs: Sequence[images.Given]) -> list[Any]:
    """The caption of each picture; with decode.n_best above one, a list of captions.

    Args:
        inputs: paths of pictures in any format that Pillow reads, or pictures in memory.

    Raises:
        UserError: a file is missing, or is no picture (names it).
    """
    device = next(model.parameters()).device
    captions = []
    for start in range(0, len(inputs), AT_ONCE):
        read = [
            images.pixels(images.taken(given, name=f"input {number}"), (model.side, model.side))
            for number, given in enumerate(inputs[start : start + AT_ONCE], start=start + 1)
        ]
        captions += write(model, torch.stack([torch.tensor(picture) for picture in read]).to(device))
    return captions if model.decoding.n_best > 1 else [best for [best] in captions]
