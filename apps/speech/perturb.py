"""Perturbed versions of a recording: faster or slower, in coloured noise."""

import numpy as np

from .audio import Samples, resample

FASTEST = 1.2
"""maximum factor of speed; the minimum is its reciprocal"""
MARGIN = 0.1
"""maximum silence added before and after, in seconds"""
NOISE = (5.0, 40.0)
"""minimum and maximum signal-to-noise ratio, in dB"""


def perturb(samples: Samples, rate: int, random: np.random.Generator) -> tuple[Samples, str]:
    """A version of a recording [N] at `rate` Hz, and a description of what was done to it."""
    speed = FASTEST ** random.uniform(-1, 1)
    before, after = (random.uniform(0, MARGIN, size=2) * rate).astype(int)
    quiet = np.pad(change_speed(samples, rate, speed), (before, after))
    distance = random.uniform(*NOISE)
    return add_noise(quiet, distance, random), f"speed {speed:.2f}, noise {distance:.0f} dB below"


def change_speed(samples: Samples, rate: int, factor: float) -> Samples:
    """Played `factor` times as fast: tempo, pitch and formants all scale, as with a smaller or larger speaker.

    Source: Ko, Povey, Peddinti and Khudanpur, Audio Augmentation for Speech Recognition, 2015.
    """
    return resample(samples, rate * factor, rate)


def add_noise(samples: Samples, distance: float, random: np.random.Generator) -> Samples:
    """Samples with noise of a random colour, `distance` dB below their mean power."""
    power = float(np.square(samples).mean()) + 1e-10
    noise = _noise(len(samples), random)
    return np.asarray(samples + np.sqrt(power / 10 ** (distance / 10)) * noise, dtype=np.float32)


def _noise(count: int, random: np.random.Generator) -> Samples:
    """Noise of unit power and spectrum 1 / f ** a, for a random a from 0 (white) through 1 (pink) to 2 (brown)."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequencies = np.maximum(np.arange(len(spectrum)), len(spectrum) / 100)  # flat below 1 % of the band
    noise = np.fft.irfft(spectrum / frequencies ** (random.uniform(0, 2) / 2), count)
    return np.asarray(noise / np.sqrt(np.square(noise).mean() + 1e-20), dtype=np.float32)
