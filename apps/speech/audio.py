"""Reading of recordings: any format and sample rate that libsndfile and soxr know, to one channel at one rate."""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from unroll.data.containers import lacking
from unroll.errors import UserError

LONGEST = 600.0
"""seconds; a longer recording is refused before it is decoded"""
ENOUGH = 0.95
"""share of the samples declared by an MP3 file that must be there; encoders count their padding in different ways"""
RATES = (1_000, 400_000)
"""sample rates that a recording may declare, in Hz"""

Samples = NDArray[np.float32]


def read(path: Path, rate: int) -> Samples:
    """The recording at `path`, channels averaged, resampled to `rate` Hz: float32 [N], full scale is 1.

    Raises:
        UserError: names the file and the cause: missing, empty, no audio, truncated, too long, NaN or infinity in it.
    """
    samples, declared = _decode(path)
    if not len(samples):
        raise UserError(f"{path}: holds no samples (zero-length audio)")
    bad = ~np.isfinite(samples)
    if bad.any():
        second = int(bad.argmax()) / declared
        raise UserError(f"{path}: holds {bad.sum():,} samples that are NaN or infinite, the first at {second:.3f} s")
    return resample(samples, declared, rate)


def resample(samples: Samples, source: float, target: float) -> Samples:
    """Samples at `source` Hz -> at `target` Hz."""
    return samples if source == target else np.asarray(soxr.resample(samples, source, target), dtype=np.float32)


def _decode(path: Path) -> tuple[Samples, int]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes)")
    try:
        if cut := lacking(path):
            raise UserError(f"{path}: {cut}; copy it again")
        with soundfile.SoundFile(path) as file:
            _check_declared(path, file.frames, file.samplerate)
            samples = file.read(dtype="float32", always_2d=True)
            if len(samples) < ENOUGH * file.frames and _counts_samples(path):
                number = f"{len(samples):,} of the {file.frames:,} samples that it declares"
                raise UserError(f"{path}: is truncated: holds {number}; copy it again")
            return samples.mean(axis=1, dtype=np.float32), file.samplerate
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: is not audio that can be read ({error.error_string.rstrip('.')}); convert it to WAV or FLAC"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _counts_samples(path: Path) -> bool:
    """Whether the number of samples is more than what libsndfile makes of the file's size.

    Of MP3 that is so where the first frame holds a table of contents; for other formats see `unroll.data.containers`,
    and a FLAC file that is cut off cannot be decoded to its end.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def _check_declared(path: Path, frames: int, rate: int) -> None:
    """By the header alone, so that a false or enormous one costs neither time nor memory."""
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"{path}: declares {rate:,} samples per second; {RATES[0]:,} to {RATES[1]:,} can be read")
    if frames > LONGEST * rate:
        raise UserError(f"{path}: lasts {frames / rate:,.0f} s by its header; cut it into pieces of {LONGEST:.0f} s")
