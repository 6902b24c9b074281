"""What the networks must beat: the most frequent class, a single frame; copying the last frame, linear motion."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from unroll.app import Data
from unroll.sequence.resumable_sampler import dataset_of

from .data import Batch
from .metrics import Errors, errors, totals

FASTEST = 3
"""largest displacement that linear motion looks for, in pixels per frame"""
Method = Callable[[Tensor, int], Tensor]
"""(input frames [T, B, C, Y, X], horizon) -> predicted frames [horizon, B, C, Y, X]"""


def naming(data: Data[Batch]) -> dict[str, dict[str, float]]:
    """Accuracy on test of the most frequent class, and of a logistic regression on the middle frame: without motion."""
    train, test = (_middles(dataset_of(batches)) for batches in (data.train, data.test))
    frequent = Counter(train[1]).most_common(1)[0][0]
    regression = LogisticRegression(C=0.01, max_iter=200).fit(*train)
    return {
        "most frequent": {"accuracy": sum(label == frequent for label in test[1]) / len(test[1])},
        "middle frame": {"accuracy": float(regression.score(*test))},
    }


def _middles(clips: Any) -> tuple[Any, list[int]]:
    found = [(frames[len(frames) // 2].flatten(), record["class"]) for record, frames in clips]
    return np.stack([frame for frame, _ in found]) / 255, [label for _, label in found]


def predicting_frames(data: Data[Batch], context: int) -> dict[str, dict[str, float]]:
    """The errors on test of `copy_last` and `linear_motion`."""
    return {name: totals(measured(method, data.test, context)) for name, method in METHODS.items()}


def measured(method: Method, batches: Iterable[Batch], context: int) -> list[Errors]:
    """The errors of a method, batch by batch."""
    return [
        errors(method(batch.frames[:context], len(batch.frames) - context), batch.frames[context:]) for batch in batches
    ]


def copy_last(frames: Tensor, horizon: int) -> Tensor:
    """The last frame, repeated."""
    return frames[-1:].expand(horizon, *frames.shape[1:])


def linear_motion(frames: Tensor, horizon: int) -> Tensor:
    """Moving objects continue at their velocity; everything else stays.

    The displacement per frame is the peak of the cross-correlation of successive frame differences, to a fraction of a
    pixel: differences cancel what does not move. The mean of the input frames is the background; the rest of the last
    frame is shifted by the displacement once per step. There is one displacement per clip, so two objects that move in
    different directions cannot be followed.
    """
    ground = frames.mean(0)
    shift = _displacement(frames.diff(dim=0)) if len(frames) > 2 else torch.zeros(frames.shape[1], 2).to(frames)
    future = [ground + _shifted(frames[-1] - ground, step * shift) for step in range(1, horizon + 1)]
    return torch.stack(future).clamp(0, 1)


def _displacement(changes: Tensor) -> Tensor:
    """Displacement (y, x) per frame in pixels, [B, 2], from frame differences [T - 1, B, C, Y, X]."""
    # Zero-padded to twice the size, so that the correlation does not wrap around.
    extent = [2 * side for side in changes.shape[-2:]]
    spectra = torch.fft.rfft2(changes, s=extent)
    products = (spectra[1:] * spectra[:-1].conj()).sum((0, 2))
    near = torch.fft.irfft2(products, s=extent).roll((FASTEST + 1, FASTEST + 1), (-2, -1))
    near = near[:, : 2 * FASTEST + 3, : 2 * FASTEST + 3]
    peak = near[:, 1:-1, 1:-1].flatten(1).argmax(1)
    y, x = peak // (2 * FASTEST + 1) + 1, peak % (2 * FASTEST + 1) + 1
    rows = torch.arange(len(near), device=near.device)
    vertical = _vertex(near[rows, y - 1, x], near[rows, y, x], near[rows, y + 1, x])
    horizontal = _vertex(near[rows, y, x - 1], near[rows, y, x], near[rows, y, x + 1])
    return torch.stack([y + vertical, x + horizontal], 1) - (FASTEST + 1)


def _vertex(before: Tensor, peak: Tensor, after: Tensor) -> Tensor:
    """Offset of the vertex of the parabola through three neighbouring values from the middle one: -0.5 to 0.5."""
    return ((before - after) / (2 * (before - 2 * peak + after)).clamp(max=-1e-6)).clamp(-0.5, 0.5)


def _shifted(frames: Tensor, shift: Tensor) -> Tensor:
    """Frames [B, C, Y, X] shifted by (y, x) pixels, [B, 2], with linear interpolation and zero padding."""
    height, width = frames.shape[-2:]
    matrix = torch.eye(2, 3, dtype=frames.dtype, device=frames.device).repeat(len(frames), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = -2 * shift[:, 1] / width, -2 * shift[:, 0] / height
    grid = F.affine_grid(matrix, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, align_corners=False)


METHODS: dict[str, Method] = {"copy last": copy_last, "linear motion": linear_motion}
