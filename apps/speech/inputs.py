"""What `predict` takes beside the name of a file. Needs no torch, as all that describes the application."""

from pathlib import Path

import soundfile

from unroll.values import Value, is_path

from .audio import Recording, is_recording

Input = str | Path | Recording


def _recording(name: str) -> Recording:
    samples, rate = soundfile.read(name, dtype="float32")
    return samples, rate


VALUES = (
    Value[Path]("the path of a recording", is_path, Path),
    Value[Recording](
        "(samples, rate): an array [N] or [N, channels] of integers or with full scale 1, and samples per second",
        is_recording,
        _recording,
    ),
)
