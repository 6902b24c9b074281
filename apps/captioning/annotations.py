"""Pre-trained encoders: their weights, and while they are frozen their annotations, computed once into the store."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from unroll.data.arrays import read_arrays, write_rows
from unroll.data.store import Prepared, Store

from .data import NAME
from .encoder import WEIGHTS, Backbone, pretrained

AT_ONCE = 64
"""pictures per pass"""


def backbone(store: Store, name: str) -> Prepared:
    """The published weights of a backbone, fetched by timm once, as safetensors. Raises UserError as `Backbone`."""

    def write(folder: Path) -> None:
        encoder = Backbone(name, pretrained=True)
        save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, folder / WEIGHTS)

    return store.prepare(f"{NAME}.backbone", {"name": name}, write)


def annotate(store: Store, prepared: Prepared, name: str) -> Prepared:
    """A frozen backbone's annotations of all pictures, float16 [N, S, D] per split: computed once."""
    weights = backbone(store, name)

    def write(folder: Path) -> None:
        network = pretrained(name, weights.folder).eval()
        for split, pictures in read_arrays(prepared.folder).items():
            shape = next(_rows(network, pictures[:1])).shape
            write_rows(folder / f"{split}.npy", _rows(network, pictures), (len(pictures), *shape), np.float16)

    encoder = {"name": name, "digest": weights.digest}
    return store.prepare(f"{NAME}.annotations", {"pictures": prepared.digest, "encoder": encoder}, write)


@torch.no_grad()
def _rows(encoder: Backbone, pictures: NDArray[np.uint8]) -> Iterator[NDArray[np.float16]]:
    for start in range(0, len(pictures), AT_ONCE):
        seen: Tensor = encoder(torch.from_numpy(pictures[start : start + AT_ONCE].copy()))
        yield from seen.transpose(0, 1).half().numpy()
