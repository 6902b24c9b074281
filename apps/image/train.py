"""The trainer: loss on a batch and metrics on a split, for each of the three networks."""

import math
from collections.abc import Iterable
from typing import Any

from torch.nn import functional as F

from unroll.app import Mean, Report, Step

from .completion import PixelRNN
from .data import Batch
from .model import Classifier, Denoiser, Network
from .reading import noisy

MSE = {"mse": Mean("score")}


def step(model: Network, batch: Batch, state: None = None) -> Step:
    """Mean loss over a batch: cross-entropy of the class, bits per pixel, or squared error of a pixel without noise."""
    match model:
        case Classifier():
            loss = F.cross_entropy(model(batch.pixels), batch.labels)
        case PixelRNN():
            loss = model.bits(batch.pixels).mean()
        case Denoiser():
            values = model.scaled(batch.pixels)
            loss = F.mse_loss(model(noisy(values, model.noise)), values)
        case _:
            raise TypeError(f"{type(model).__name__} is no network of this application")
    return Step(loss, size=len(batch.labels))


def evaluate(model: Network, batches: Iterable[Batch]) -> Report:
    """Metrics of the model's task, and a record for each picture."""
    match model:
        case Classifier():
            return _named(model, batches)
        case PixelRNN():
            return _completed(model, batches)
        case Denoiser():
            return _denoised(model, batches)
        case _:
            raise TypeError(f"{type(model).__name__} is no network of this application")


def _named(model: Classifier, batches: Iterable[Batch]) -> Report:
    records = []
    for batch in batches:
        log_probs = model(batch.pixels).log_softmax(1)
        bits = (-log_probs.gather(1, batch.labels[:, None])[:, 0] / math.log(2)).tolist()
        chances, found = log_probs.exp().max(1)
        for row, id in enumerate(batch.ids):
            wanted, named = model.classes[batch.labels[row]], model.classes[found[row]]
            more = {"probability": chances[row].item(), "bits": bits[row]}
            records.append(_record(id, wanted, named, float(wanted == named)) | more)
    means = {"accuracy": Mean("score", share=True), "bits_per_image": Mean("bits")}
    return _report(records, "share of pictures whose most probable class is right", means)


def _completed(model: PixelRNN, batches: Iterable[Batch]) -> Report:
    """Bits of all pixels, and of the rows that `predict` fills in, given the others: exact, nothing is drawn."""
    records, kept = [], kept_rows(model)
    for batch in batches:
        bits = model.bits(batch.pixels)
        per_picture, below = bits.mean((1, 2)).tolist(), bits[:, kept:].mean((1, 2)).tolist()
        for id, label, whole, part in zip(batch.ids, batch.labels.tolist(), per_picture, below, strict=True):
            text = f"{whole:.3f} bits per pixel"
            records.append(_record(id, model.classes[label], text, whole) | {"bits_per_pixel_below": part})
    means = {"bits_per_pixel": Mean("score"), "bits_per_pixel_below": Mean("bits_per_pixel_below")}
    return _report(records, f"exact negative log2-likelihood; below: rows {kept} and on, given those above", means)


def _denoised(model: Denoiser, batches: Iterable[Batch]) -> Report:
    records = []
    for batch in batches:
        values = model.scaled(batch.pixels)
        given = noisy(values, model.noise, batch.rows)
        before, after = (((x - values) ** 2).mean((1, 2, 3)).tolist() for x in (given, model(given).clamp(0, 1)))
        for id, old, new in zip(batch.ids, before, after, strict=True):
            records.append(_record(id, f"mse {old:.4f} with noise", f"mse {new:.4f}", new))
    report = _report(records, f"normal noise of deviation {model.noise:g}, drawn once for each picture", MSE)
    report.metrics["psnr"] = -10 * math.log10(report.metrics["mse"])
    return report


def kept_rows(model: PixelRNN) -> int:
    """Rows that are given when the model completes a picture."""
    return round(model.asked.keep * model.shape.height)


def _record(id: str, reference: str, prediction: str, score: float) -> dict[str, Any]:
    return {"id": id, "reference": reference, "prediction": prediction, "score": score}


def _report(records: list[dict[str, Any]], signature: str, means: dict[str, Mean]) -> Report:
    """Every metric is a mean over pictures."""
    metrics = {name: sum(row[mean.numerator] for row in records) / len(records) for name, mean in means.items()}
    return Report(metrics, records, signature, means)
