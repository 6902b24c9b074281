"""Log-mel features."""

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

from .audio import Samples

WINDOW = 0.025
"""seconds under one frame"""
HOP = 0.010
"""seconds from frame to frame"""
FLOOR = 1e-4
"""added to the energy of a band before the logarithm: hides what is 50 dB below speech of power one"""
FAINT = 1e-8
"""added to the mean power of a recording, so that the noise of a silent 16-bit one is not amplified"""
TYPICAL = 1e-3
"""mean power assumed for every recording if its own is not used"""

Frames = NDArray[np.float32]


@dataclass(frozen=True)
class LogMel:
    """Logarithm of the energies in mel bands, one frame every 10 ms over 25 ms (librosa, Slaney's scale).

    With `level` a recording is first scaled to a mean power of one, so that microphones and distances matter less; that
    takes the whole recording. Without it, no frame depends on anything outside its window, so pieces can be streamed.
    """

    rate: int = 8000
    """samples per second"""
    bands: int = 40
    level: bool = True

    @property
    def window(self) -> int:
        """Samples under one frame."""
        return round(WINDOW * self.rate)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return round(HOP * self.rate)

    def __call__(self, samples: Samples) -> Frames:
        """Samples [N] -> frames [1 + (N - window) // hop, bands]; shorter recordings are padded to one frame."""
        power = float(np.square(samples).mean()) + FAINT if self.level else TYPICAL
        if len(samples) < self.window:
            samples = np.pad(samples, (0, self.window - len(samples)))
        filters = _filters(self.rate, self.window, self.bands)
        size = 2 * (filters.shape[1] - 1)
        # librosa centres a short window in the longer transform: without these zeros it would drop the edges.
        margin = (size - self.window) // 2
        samples = np.pad(samples, (margin, size - self.window - margin)) / np.float32(math.sqrt(power))
        spectrum = librosa.stft(samples, n_fft=size, hop_length=self.hop, win_length=self.window, center=False)
        energies = spectrum.real**2 + spectrum.imag**2
        return np.asarray(np.log(filters @ energies + FLOOR).T, dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `LogMel(**values)` restores it."""
        return asdict(self)


@cache
def _filters(rate: int, window: int, bands: int) -> NDArray[np.float32]:
    size = 1 << (window - 1).bit_length()
    return np.asarray(librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands, fmin=50.0), dtype=np.float32)
