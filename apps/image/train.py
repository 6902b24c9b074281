"""The trainer: loss on a batch and metrics on a split, for each of the three networks."""

import math
from collections.abc import Iterable
from typing import Any

from torch.nn import functional as F

from apps.image.completion import PixelRNN
from apps.image.data import Batch
from apps.image.model import Classifier, Denoiser, Network
from apps.image.reading import noisy
from core.app import Report, Step


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
    records, bits = [], 0.0
    for batch in batches:
        log_probs = model(batch.pixels).log_softmax(1)
        bits -= log_probs.gather(1, batch.labels[:, None]).sum().item() / math.log(2)
        chances, found = log_probs.exp().max(1)
        for row, id in enumerate(batch.ids):
            wanted, named = model.classes[batch.labels[row]], model.classes[found[row]]
            records.append(_record(id, wanted, named, float(wanted == named)) | {"probability": chances[row].item()})
    metrics = {"accuracy": _mean(records, "score"), "bits_per_image": bits / len(records)}
    return Report(metrics, records, "share of pictures whose most probable class is right")


def _completed(model: PixelRNN, batches: Iterable[Batch]) -> Report:
    """Bits of all pixels, and of the rows that `predict` fills in, given the others: exact, nothing is drawn."""
    records, kept = [], kept_rows(model)
    for batch in batches:
        bits = model.bits(batch.pixels)
        per_picture, below = bits.mean((1, 2)).tolist(), bits[:, kept:].mean((1, 2)).tolist()
        for id, label, whole, part in zip(batch.ids, batch.labels.tolist(), per_picture, below, strict=True):
            text = f"{whole:.3f} bits per pixel"
            records.append(_record(id, model.classes[label], text, whole) | {"bits_per_pixel_below": part})
    metrics = {
        "bits_per_pixel": _mean(records, "score"),
        "bits_per_pixel_below": _mean(records, "bits_per_pixel_below"),
    }
    return Report(metrics, records, f"exact negative log2-likelihood; below: rows {kept} and on, given those above")


def _denoised(model: Denoiser, batches: Iterable[Batch]) -> Report:
    records = []
    for batch in batches:
        values = model.scaled(batch.pixels)
        given = noisy(values, model.noise, batch.rows)
        before, after = (((x - values) ** 2).mean((1, 2, 3)).tolist() for x in (given, model(given).clamp(0, 1)))
        for id, old, new in zip(batch.ids, before, after, strict=True):
            records.append(_record(id, f"mse {old:.4f} with noise", f"mse {new:.4f}", new))
    mse = _mean(records, "score")
    metrics = {"mse": mse, "psnr": -10 * math.log10(mse)}
    return Report(metrics, records, f"normal noise of deviation {model.noise:g}, drawn once for each picture")


def kept_rows(model: PixelRNN) -> int:
    """Rows that are given when the model completes a picture."""
    return round(model.asked.keep * model.shape.height)


def _record(id: str, reference: str, prediction: str, score: float) -> dict[str, Any]:
    return {"id": id, "reference": reference, "prediction": prediction, "score": score}


def _mean(records: list[dict[str, Any]], name: str) -> float:
    return float(sum(record[name] for record in records) / len(records))
