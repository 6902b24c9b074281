"""Transcripts of recordings, which are files or samples in memory."""

from collections.abc import Sequence

import torch

from . import audio
from .inputs import Input
from .model import Recogniser


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
