"""The trainer: loss on a batch, metrics on a split, scores of what the user gives."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from unroll.app import Mean, Report, Step
from unroll.errors import UserError

from .data import UNLABELLED, Batch
from .inputs import Input
from .metrics import measure
from .model import Siamese
from .search import Index
from .sources import ENTAILMENT

SIGNATURE = "pairs scored one by one|pearson, spearman: scipy|mse: on the data's own scale|intervals: 95 %, bootstrap"


def step(model: Siamese, batch: Batch, state: None = None) -> Step:
    """Mean loss of the score over a batch's pairs, and of the entailment where it is asked for and known."""
    u, v = model(batch.tokens, batch.lengths)
    loss = model.head.loss(u, v, batch.scores).mean()
    logs = {"loss_score": loss.item()}
    if model.entailment is not None:
        labelled = batch.labels != UNLABELLED
        # Summed and divided by hand: the mean over no label at all is not zero but NaN.
        errors = F.cross_entropy(model.entailment(u, v), batch.labels, reduction="sum", ignore_index=UNLABELLED)
        errors = errors / labelled.sum().clamp(min=1)
        loss = loss + model.weight * errors
        logs["loss_entailment"] = errors.item()
    return Step(loss, size=len(batch.scores), logs=logs)


def evaluate(model: Siamese, batches: Iterable[Batch]) -> Report:
    """Pearson, Spearman and mean squared error, with intervals, and the accuracy of the entailment."""
    records = []
    for batch in batches:
        u, v = model(batch.tokens, batch.lengths)
        scores = model.scale(model.head.score(u, v)).tolist()
        named = _named(model, u, v) or [""] * len(scores)
        for record, score, name in zip(batch.records, scores, named, strict=True):
            records.append(_row(record, score, name, model.high - model.low))
    metrics = measure([row["reference"] for row in records], [row["prediction"] for row in records])
    means, judged = {"mse": Mean("squared_error")}, sum(row["judged"] for row in records)
    if judged:
        metrics["entailment_accuracy"] = sum(row["label_right"] for row in records) / judged
        means["entailment_accuracy"] = Mean("label_right", "judged", share=True)
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


def _named(model: Siamese, u: Tensor, v: Tensor) -> list[str]:
    """Names of the entailment of each pair; none where the model was not asked to learn them."""
    if model.entailment is None:
        return []
    return [ENTAILMENT[number] for number in model.entailment(u, v).argmax(1).tolist()]


def predict(model: Siamese, inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """Scores of pairs; with predict.rank, the sentences nearest to the first input among all others.

    Args:
        inputs: pairs, each as one text `first | second` (or with a tab between), or as two texts in a tuple or list.

    Raises:
        UserError: an input that is no pair, an empty sentence, or nothing to rank.
    """
    if model.rank:
        return _ranked(model, [str(text) for text in inputs])
    pairs = [_pair(given, number) for number, given in enumerate(inputs, start=1)]
    # Each sentence once, however many pairs it is in.
    sentences = list(dict.fromkeys(text for pair in pairs for text in pair))
    rows = {text: row for row, text in enumerate(sentences)}
    vectors = model.encode(sentences, "sentence")
    u, v = (vectors[[rows[pair[side]] for pair in pairs]] for side in (0, 1))
    scores = model.scale(model.head.score(u, v)).tolist()
    named = _named(model, u, v)
    outputs = [{"score": round(score, 3), "a": a, "b": b} for (a, b), score in zip(pairs, scores, strict=True)]
    return [output | {"entailment": name} for output, name in zip(outputs, named, strict=True)] if named else outputs


def _pair(given: Input, number: int) -> tuple[str, str]:
    parts = given.split("\t" if "\t" in given else "|") if isinstance(given, str) else list(given)
    if len(parts) != 2:
        raise UserError(f"input {number}: {given!r} is no pair; write: first sentence | second sentence")
    a, b = (part.strip() for part in parts)
    if not a or not b:
        raise UserError(f"input {number}: {given!r} has an empty sentence; write: first sentence | second sentence")
    return a, b


def _ranked(model: Siamese, inputs: Sequence[str]) -> list[dict[str, Any]]:
    query, *sentences = inputs
    lines = [(line, text) for line, text in enumerate(sentences, start=1) if text.strip()]
    if not lines:
        raise UserError("predict.rank=true: give the query first, then the sentences to rank, or a --file of them")
    found = Index(model, [text for _, text in lines]).search(query, model.top)
    return [
        {"rank": rank, "score": round(score, 3), "line": lines[row][0], "sentence": text}
        for rank, (score, row, text) in enumerate(found, start=1)
    ]
