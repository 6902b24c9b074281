"""Transcripts of recordings, which are files or samples in memory."""

from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch

from unroll.values import Value, is_path

from . import audio
from .audio import Recording, is_recording
from .model import Recogniser

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


def predict(model: Recogniser, inputs: Sequence[Input]) -> list[str]:
    """The transcript of each recording: an audio file of any format and sample rate that is read, or samples in memory.

    Raises:
        UserError: names the first file or input that cannot be read, and why.
    """
    return [_transcribe(model, given, f"input {number}") for number, given in enumerate(inputs, start=1)]


@torch.no_grad()
def _transcribe(model: Recogniser, given: Input, name: str) -> str:
    frames = model.features(audio.taken(given, model.features.rate, name))
    features = torch.from_numpy(frames)[:, None].to(model.mean.device)
    log_probs, lengths, _ = model(features, torch.tensor([len(frames)], device=features.device))
    return model.decode(log_probs, lengths)[0]
