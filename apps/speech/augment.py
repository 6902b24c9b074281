"""Augmentation of frames in training, different in every pass over the data. It uses torch's global random numbers."""

import math

import torch
from torch import Tensor, nn

WAVES = 4
"""number of cosines over the bands that a colouring is made of; the first is constant, the level"""


class Augment(nn.Module):
    """Imitates other speakers and microphones, and masks frames: sampled for each utterance at every step.

    Args:
        warp: the mel axis is stretched or compressed by up to this fraction, as by a shorter or longer vocal tract
            (Jaitly and Hinton, Vocal Tract Length Perturbation Improves Speech Recognition, 2013).
        colour: standard deviation of a smooth curve that is added to the normalised bands, as by another microphone.
        band_masks, band_width: number of masks over bands, and the maximum width of one.
        time_masks, time_width: number of masks over time, and the maximum length of one as a fraction of the utterance.
            A masked value is zero, the mean of normalised features (Park and others, SpecAugment, 2019).
    """

    def __init__(
        self,
        *,
        warp: float = 0.0,
        colour: float = 0.0,
        band_masks: int = 0,
        band_width: int = 0,
        time_masks: int = 0,
        time_width: float = 0.0,
    ) -> None:
        super().__init__()
        self.warp, self.colour = warp, colour
        self.band_masks, self.band_width = band_masks, band_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Normalised frames [T, B, bands] and lengths [B] -> augmented frames [T, B, bands]."""
        if self.warp:
            features = _warped(features, self.warp)
        if self.colour:
            features = features + _colours(features, self.colour)
        return self._masked(features, lengths)

    def _masked(self, features: Tensor, lengths: Tensor) -> Tensor:
        frames, rows, bands = features.shape
        everywhere = torch.full((rows,), bands, device=features.device)
        hidden = _masks(self.band_masks, torch.full_like(everywhere, self.band_width), everywhere, bands)[None]
        stretch = (self.time_width * lengths).long()
        hidden = hidden | _masks(self.time_masks, stretch, lengths, frames).T[..., None]
        return features.masked_fill(hidden, 0)


def _warped(features: Tensor, most: float) -> Tensor:
    """Band f becomes what was at f times the utterance's factor, interpolated; the last band repeats beyond the top."""
    _, rows, bands = features.shape
    factor = 1 + most * (2 * torch.rand(rows, 1, device=features.device) - 1)
    place = (torch.arange(bands, device=features.device) * factor).clamp(max=bands - 1)
    below = place.long().clamp(max=bands - 2)
    share = place - below
    below = below.expand(features.shape)
    return torch.lerp(features.gather(2, below), features.gather(2, below + 1), share.expand(features.shape))


def _colours(features: Tensor, deviation: float) -> Tensor:
    """A random smooth curve over the bands for each utterance, [B, bands]."""
    _, rows, bands = features.shape
    wave = torch.arange(WAVES, device=features.device)[:, None]
    places = (torch.arange(bands, device=features.device) + 0.5) / bands
    weights = torch.randn(rows, WAVES, device=features.device) * deviation / math.sqrt(WAVES)
    return weights @ torch.cos(math.pi * wave * places)


def _masks(count: int, widest: Tensor, lengths: Tensor, size: int) -> Tensor:
    """`count` random spans in each row, up to `widest` long and within its length: [B, size], true where masked."""
    shape = (len(lengths), count)
    width = torch.rand(shape, device=lengths.device) * (widest[:, None] + 1)
    start = torch.rand(shape, device=lengths.device) * (lengths[:, None] - width).clamp(min=0)
    place = torch.arange(size, device=lengths.device)
    inside = (place >= start[..., None].floor()) & (place < (start.floor() + width.floor())[..., None])
    return inside.any(1)
