"""Reading recordings: any format and sample rate that libsndfile and soxr know, to one channel at one rate."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from typing_extensions import TypeIs

from unroll.data import numbers
from unroll.data.containers import lacking
from unroll.errors import UserError

LONGEST = 600.0
"""seconds; a longer recording is refused before it is decoded"""
ENOUGH = 0.95
"""share of the samples declared by an MP3 file that must be there; encoders differ in how they count padding"""
RATES = (1_000, 400_000)
"""sample rates that a recording may declare, in Hz"""

CHANNELS = 64
"""of samples in memory; an array with more is assumed to be transposed"""
LOUDEST = 100.0
"""times full scale; larger floating-point samples are assumed to be integers that were never divided by it"""

Samples = NDArray[np.float32]
Recording = tuple[NDArray[Any] | list[Any], float] | list[Any]
"""in memory, a pair: samples [N] or [N, channels], floating-point ones with full scale 1, or integers; and samples per
second"""


def read(path: Path, rate: int) -> Samples:
    """The recording at `path`, channels averaged, resampled to `rate` Hz: float32 [N], full scale is 1.

    Raises:
        UserError: names the file and the cause: missing, empty, no audio, truncated, too long, NaN or infinity in it.
    """
    return _resampled(str(path), *_decode(path), rate)


def is_recording(value: object) -> TypeIs[Recording]:
    """Whether a value is a recording in memory, by its types and shapes."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    samples, rate = numbers.array(value[0]), numbers.array([value[1]])
    return samples is not None and samples.ndim in (1, 2) and rate is not None and rate.shape == (1,)


def taken(given: str | Path | Recording, rate: int, name: str = "recording") -> Samples:
    """The recording as `read` gives it, from its file or from memory, where it is called `name`.

    Raises:
        UserError: as `read`; samples that are transposed, or far beyond full scale.
    """
    if isinstance(given, str | Path):
        return read(Path(given), rate)
    samples, declared = np.asarray(given[0]), given[1]
    _check_declared(name, len(samples), declared)
    if samples.dtype.kind in "iu" and samples.dtype.itemsize > 4:  # what lists from JSON become; no recording has them
        raise UserError(f"{name}: has integers of 64 bits, whose full scale nobody knows; give int16, or full scale 1")
    if samples.ndim == 2 and not 1 <= samples.shape[1] <= CHANNELS:
        raise UserError(f"{name}: has {samples.shape[1]:,} channels; write samples as [N, channels]")
    scaled = _scaled(samples)
    if scaled.size and np.abs(scaled).max() > LOUDEST:
        raise UserError(f"{name}: has samples of {np.abs(scaled).max():.4g}; full scale is 1: divide by it")
    return _resampled(name, scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32), declared, rate)


def _scaled(samples: NDArray[Any]) -> Samples:
    """Integers of any width, as in WAV files, to full scale 1; those of 8 bits are unsigned, with silence at 128."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    limits = np.iinfo(samples.dtype)
    half = (int(limits.max) - int(limits.min) + 1) / 2
    return ((samples - (half if limits.min == 0 else 0.0)) / half).astype(np.float32)


def _resampled(name: str, samples: Samples, declared: float, rate: int) -> Samples:
    if not len(samples):
        raise UserError(f"{name}: holds no samples (zero-length audio)")
    bad = ~np.isfinite(samples)
    if bad.any():
        second = int(bad.argmax()) / declared
        raise UserError(f"{name}: holds {bad.sum():,} samples that are NaN or infinite, the first at {second:.3f} s")
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
            _check_declared(str(path), file.frames, file.samplerate)
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
    """Whether the file declares its number of samples, which libsndfile otherwise estimates from the file's size.

    An MP3 file does so if its first frame has a table of contents. Other formats are checked by
    `unroll.data.containers`, and a truncated FLAC file fails to decode.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return b"Xing" in head or b"Info" in head


def _check_declared(path: str, frames: int, rate: float) -> None:
    """Checked before anything is decoded, so that a false or enormous number costs neither time nor memory."""
    if not RATES[0] <= rate <= RATES[1]:  # NaN is neither
        raise UserError(f"{path}: declares {rate:,} samples per second; {RATES[0]:,} to {RATES[1]:,} can be read")
    if frames > LONGEST * rate:
        raise UserError(f"{path}: lasts {frames / rate:,.0f} s by its header; cut it into pieces of {LONGEST:.0f} s")
