"""The loss on a batch, and the metrics on a split."""

from collections.abc import Iterable
from typing import Any

from unroll.app import Mean, Report, Step

from .data import Batch
from .metrics import measure
from .model import Siamese

SIGNATURE = "pairs scored one by one|pearson, spearman: scipy|mse: on the data's own scale|intervals: 95 %, bootstrap"


def step(model: Siamese, batch: Batch, state: None = None) -> Step:
    """Mean loss of the scores of a batch, plus that of the entailment if it is trained and known."""
    u, v = model(batch.tokens, batch.lengths)
    loss = model.head.loss(u, v, batch.scores).mean()
    logs = {"loss_score": loss.item()}
    if model.entailment is not None:
        errors = model.entailment.loss(u, v, batch.labels)
        loss = loss + model.weight * errors
        logs["loss_entailment"] = errors.item()
    return Step(loss, size=len(batch.scores), logs=logs)


def evaluate(model: Siamese, batches: Iterable[Batch]) -> Report:
    """Pearson, Spearman and mean squared error, with intervals, and the accuracy of the entailment."""
    records = []
    for batch in batches:
        u, v = model(batch.tokens, batch.lengths)
        for row in zip(batch.records, model.scores(u, v), model.entailments(u, v), strict=True):
            records.append(_row(*row, width=model.high - model.low))
    metrics = measure([row["reference"] for row in records], [row["prediction"] for row in records])
    means = {"mse": Mean("squared_error")}
    if any(row["judged"] for row in records):
        means["entailment_accuracy"] = Mean("label_right", "judged", share=True)
        metrics["entailment_accuracy"] = means["entailment_accuracy"].of(records)
    return Report(metrics, records, SIGNATURE, means)


def _row(record: dict[str, Any], prediction: float, label: str, width: float) -> dict[str, Any]:
    prediction = round(prediction, 4)
    return {
        "id": record["id"],
        "reference": record["score"],
        "prediction": prediction,
        "score": round(1 - abs(prediction - record["score"]) / width, 4),
        "a": record["a"],
        "b": record["b"],
        "label": record["label"],
        "predicted_label": label,
        "squared_error": (prediction - record["score"]) ** 2,
        "judged": bool(record["label"] and label),
        "label_right": bool(label) and record["label"] == label,
        "group": record["a"],  # pairs that share a sentence
    }
