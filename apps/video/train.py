"""What a step of training, an evaluation and a prediction are, for both tasks."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from unroll.app import Mean, Report, Step
from unroll.data.files import writing
from unroll.errors import UserError
from unroll.sequence.pooling import last

from . import clips, metrics
from .data import Batch, as_values
from .inputs import Input
from .model import Classifier, Forecaster, watch

Network = Classifier | Forecaster
MEASURES = {"mse": metrics.mse, "ssim": metrics.ssim, "psnr": metrics.psnr}
SHARES = {"accuracy": Mean("score", share=True), "accuracy_at_half": Mean("score_at_half", share=True)}
Errors = dict[str, Tensor]
"""by the name of the measure: of each predicted frame of each clip, [horizon, N]"""


def step(model: Network, batch: Batch, state: Any = None) -> Step:
    """Cross-entropy of classes, or squared error of predicted frames. Nothing is carried: clips are whole."""
    if isinstance(model, Forecaster):
        # The more frames are seen, the sooner is it learnt what moves where; the fewer, the better to live with its own
        # predictions. In training their number is redrawn for each batch.
        seen = int(torch.randint(model.context, len(batch.frames), ())) if model.training else model.context
        predicted, _ = model(batch.frames[:seen], len(batch.frames) - seen)
        loss = nn.functional.mse_loss(predicted, batch.frames[1:])
    else:
        logits, _ = model(batch.frames, batch.lengths)
        loss = _late_cross_entropy(logits, batch.lengths, batch.labels)
    return Step(loss, size=batch.lengths.sum().item())


def _late_cross_entropy(logits: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Of the answers from the middle of each clip on: who watches wants to know before the end. Logits [T, B, K]."""
    steps = torch.arange(len(logits), device=logits.device)[:, None]
    lengths = lengths.to(logits.device)
    counts = ((steps >= lengths // 2) & (steps < lengths)).float()
    values = nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return (values.view_as(counts) * counts).sum() / counts.sum()


def evaluate(model: Network, batches: Iterable[Batch]) -> Report:
    """Accuracy over a split; or the errors of predicted frames, in all and at each step of the horizon."""
    return _foreseen(model, batches) if isinstance(model, Forecaster) else _named(model, batches)


def _named(model: Classifier, batches: Iterable[Batch]) -> Report:
    records = []
    for batch in batches:
        logits, _ = model(batch.frames, batch.lengths)
        sure, answers = last(logits, batch.lengths).softmax(-1).max(-1)
        half = last(logits, (batch.lengths + 1) // 2).argmax(-1)
        for row, *(answer, probability, early) in zip(batch.records, answers, sure, half, strict=True):
            records.append(
                {
                    "id": row["id"], "reference": row["label"], "prediction": model.classes[answer],
                    "score": float(model.classes[answer] == row["label"]), "probability": round(float(probability), 4),
                    "score_at_half": float(model.classes[early] == row["label"]), "group": _clip(row["id"]),
                }
            )  # fmt: skip
    metrics = {name: sum(record[mean.numerator] for record in records) / len(records) for name, mean in SHARES.items()}
    return Report(metrics, records, "accuracy|after the last frame|at half: after half of the frames", SHARES)


def _clip(id: str) -> str:
    """The clip that a window was cut from: windows of one are no independent draws."""
    return id.partition(", frames ")[0]


def _foreseen(model: Forecaster, batches: Iterable[Batch]) -> Report:
    records: list[dict[str, Any]] = []
    parts: list[Errors] = []
    for batch in batches:
        parts.append(errors(predict_frames(model, batch.frames), batch.frames[model.context :]))
        for number, row in enumerate(batch.records):
            own = {name: float(values[:, number].double().mean()) for name, values in parts[-1].items()}
            shown = ", ".join(f"{name} {value:.4g}" for name, value in own.items())
            wanted = f"{model.horizon} frames after {model.context}"
            more = {"group": _clip(row["id"]), "score": own["mse"], **own}
            records.append({"id": row["id"], "reference": wanted, "prediction": shown, **more})
    signature = f"mse|psnr|ssim:wang2004,gaussian{metrics.WINDOW}|values:0-1|horizon:{model.horizon}|mean over frames"
    return Report(totals(parts), records, signature, {name: Mean(name) for name in MEASURES})


def predict_frames(model: Forecaster, frames: Tensor) -> Tensor:
    """The `horizon` frames after the first `context` of [T, B, C, Y, X], as values that a picture can have."""
    predicted, _ = model(frames[: model.context], model.horizon)
    values: Tensor = predicted[model.context - 1 :].clamp(0, 1)
    return values


def errors(predicted: Tensor, true: Tensor) -> Errors:
    """Of each predicted frame: both are [horizon, B, C, Y, X]."""
    return {name: measure(predicted, true) for name, measure in MEASURES.items()}


def over_the_horizon(parts: Sequence[Errors]) -> Errors:
    """The mean over all clips at each step, [horizon]."""
    return {name: torch.cat([part[name] for part in parts], 1).mean(1) for name in MEASURES}


def totals(parts: Sequence[Errors]) -> dict[str, float]:
    """`mse`, `ssim`, `psnr` over all frames of all clips, and `mse@1` and so on at each step of the horizon."""
    steps = over_the_horizon(parts)
    means = {name: float(values.mean()) for name, values in steps.items()}
    return means | {f"{name}@{h}": float(v) for name, values in steps.items() for h, v in enumerate(values, start=1)}


def predict(model: Network, inputs: Sequence[Input]) -> list[Any]:
    """Of each clip its class and how sure that is; or what comes next.

    A clip is a video file, a folder of numbered frames, or frames in memory.
    The next frames are written, behind those that they follow from, as an animated GIF into the current folder; the
    output names it.

    Raises:
        UserError: names the first clip that cannot be read, and why, or that has too few frames.
    """
    named = [(given, f"input-{number}") for number, given in enumerate(inputs, start=1)]
    if isinstance(model, Forecaster):
        return [_continued(model, *one) for one in named]
    return [_answer(model, *one) for one in named]


def _answer(model: Classifier, given: Input, name: str) -> dict[str, Any]:
    *_, answer = watch(model, _frames(model, given, name))
    sure, number = answer.max(-1)
    return {"class": model.classes[number], "probability": round(float(sure), 4)}


def stream(model: Network, given: Input) -> Iterator[str]:
    """A line whenever the answer changes while the clip is watched frame by frame; or what `predict` gives."""
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
        _write_gif(file, seen, predict_frames(model, seen[:, None])[:, 0])
    return f"{file}: {model.context} frames seen, then {model.horizon} predicted (framed)"


def _write_gif(file: Path, seen: Tensor, predicted: Tensor) -> None:
    """Frames [T, C, Y, X], enlarged to 240 pixels at least, those predicted within a light frame."""
    scale = -(-240 // seen.shape[-1])
    pictures = []
    for frames, border in ((seen, 0.0), (predicted, 1.0)):
        framed = nn.functional.pad(frames, (1, 1, 1, 1), value=border).expand(-1, 3, -1, -1)
        large = framed.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        pictures += list((255 * large).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    first, *rest = map(Image.fromarray, pictures)
    first.save(file, save_all=True, append_images=rest, duration=150, loop=0)
