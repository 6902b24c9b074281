"""The class of a clip, as it changes, or the frames that come next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from unroll.data.files import writing
from unroll.errors import UserError

from . import clips
from .classification import Classifier, watch
from .clips import Input
from .data import as_values
from .forecasting import Forecaster
from .model import Network


def predict(model: Classifier | Forecaster, inputs: Sequence[Input]) -> list[Any]:
    """For each clip its class and the probability of that, or the next frames.

    A clip is a video file, a folder of numbered frames, or frames in memory. The input frames and the predicted ones
    are written as an animated GIF into the current folder, which the output names.

    Raises:
        UserError: names the first clip that has too few frames or cannot be read, and why.
    """
    named = [(given, f"input-{number}") for number, given in enumerate(inputs, start=1)]
    if isinstance(model, Forecaster):
        return [_continued(model, *one) for one in named]
    return [_answer(model, *one) for one in named]


def _answer(model: Classifier, given: Input, name: str) -> dict[str, Any]:
    *_, answer = watch(model, _frames(model, given, name))
    sure, number = answer.max(-1)
    return {"class": model.classes[number], "probability": round(float(sure), 4)}


def stream(model: Classifier | Forecaster, given: Input) -> Iterator[str]:
    """A line whenever the predicted class changes, frame by frame; for a forecaster, the output of `predict`."""
    if isinstance(model, Forecaster):
        yield _continued(model, given, "clip")
        return
    frames = _frames(model, given, "clip")
    before = None
    for number, answer in enumerate(watch(model, frames), start=1):
        sure, now = answer.max(-1)
        if int(now) != before or number == len(frames):
            yield ("\n" if number > 1 else "") + f"frame {number}: {model.classes[now]} ({float(sure):.0%})"
        before = int(now)


def _frames(model: Network, given: Input, name: str) -> Tensor:
    """[T, C, Y, X], on the model's device."""
    frames = torch.from_numpy(clips.taken(given, model.size, model.channels, model.every, name))
    return as_values(frames).to(next(model.parameters()).device)


def _continued(model: Forecaster, given: Input, name: str) -> str:
    frames = _frames(model, given, name)
    path = Path(given if isinstance(given, str | Path) else name)
    if len(frames) < model.context:
        raise UserError(f"{path}: has {len(frames)} frames; the model needs {model.context} to continue from")
    seen = frames[-model.context :]
    file = Path(f"{path.resolve().stem}.next.gif")
    with writing(file):
        _write_gif(file, seen, model.predict(seen[:, None])[:, 0])
    return f"{file}: {model.context} frames seen, then {model.horizon} predicted (framed)"


def _write_gif(file: Path, seen: Tensor, predicted: Tensor) -> None:
    """Frames [T, C, Y, X], enlarged to at least 240 pixels; predicted ones have a white border."""
    scale = -(-240 // seen.shape[-1])
    pictures = []
    for frames, border in ((seen, 0.0), (predicted, 1.0)):
        framed = nn.functional.pad(frames, (1, 1, 1, 1), value=border).expand(-1, 3, -1, -1)
        large = framed.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        pictures += list((255 * large).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    first, *rest = map(Image.fromarray, pictures)
    first.save(file, save_all=True, append_images=rest, duration=150, loop=0)
