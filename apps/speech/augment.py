"""Augmentation of frames in training: no two passes over the data are alike. Draws from torch's random numbers."""

import torch
from torch import Tensor, nn


class Augment(nn.Module):
    """SpecAugment: bands and stretches of time are masked, so that no single cue is relied on.

    Source: Park and others, SpecAugment, 2019 (without the time warp). Masks are drawn anew for each utterance; a
    masked value is zero, the mean of normalised features.

    Args:
        band_masks, band_width: how many masks, of at most how many bands.
        time_masks, time_width: how many masks, of at most which share of the utterance.
    """

    def __init__(self, band_masks: int, band_width: int, time_masks: int, time_width: float) -> None:
        super().__init__()
        self.band_masks, self.band_width = band_masks, band_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Normalised frames [T, B, bands], lengths [B] -> the same with masks."""
        frames, rows, bands = features.shape
        width = torch.full((rows,), self.band_width, device=features.device)
        hidden = _masks(self.band_masks, width, torch.full_like(width, bands), bands)[None]
        stretch = (self.time_width * lengths).long()
        hidden = hidden | _masks(self.time_masks, stretch, lengths, frames).T[..., None]
        return features.masked_fill(hidden, 0)


def _masks(count: int, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
    """`count` stretches for each row, of up to `widest` places, within its length: [B, size], true where masked."""
    shape = (len(lengths), count)
    width = torch.rand(shape, device=lengths.device) * (widest[:, None] + 1)
    start = torch.rand(shape, device=lengths.device) * (lengths[:, None] - width).clamp(min=0)
    place = torch.arange(size, device=lengths.device)
    inside = (place >= start[..., None].floor()) & (place < (start.floor() + width.floor())[..., None])
    return inside.any(1)
