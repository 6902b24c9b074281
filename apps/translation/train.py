"""The loss on a batch, and the metrics on a split."""

from collections.abc import Iterable
from typing import Any

from unroll.app import Mean, Report, Step

from . import text
from .data import NOTHING, Batch
from .decode import Model, decode
from .metrics import measure, sentence_scores
from .model import Translator
from .options import GREEDY

MEANS = {
    "exact_match": Mean("exact", share=True),
    "copied": Mean("copied", share=True),
    "empty": Mean("empty", share=True),
}


def step(model: Translator, batch: Batch, state: None = None) -> Step:
    """Mean cross-entropy of a batch's target tokens, ends included. No state is carried: sentences are whole."""
    loss = model.loss(batch.source, batch.lengths, batch.inputs, batch.targets)
    return Step(loss, size=int((batch.targets != NOTHING).sum()))


def evaluate(model: Model, batches: Iterable[Batch]) -> Report:
    """Metrics of a split's free-running translations, the headline first. Val is decoded greedily, for speed."""
    rows: list[dict[str, Any]] = []
    predictions: list[str] = []
    decoding = model.decoding
    for batch in batches:
        decoding = GREEDY if batch.greedy else model.decoding
        found = decode(model, batch.source, batch.lengths, decoding)
        predictions += [text.decode(model.target, texts[0].tokens) for texts in found]
        rows += batch.records
    references = [row["target"] for row in rows]
    metrics, signature = measure(references, predictions, model.languages[1])
    scores = sentence_scores(references, predictions)
    records = [_record(*one) for one in zip(rows, predictions, scores, strict=True)]
    metrics |= {name: mean.of(records) for name, mean in MEANS.items()}
    ordered = {model.headline: metrics[model.headline], **metrics}
    return Report(ordered, records, f"{signature} decode:{decoding.signature}", MEANS)


def _record(row: dict[str, Any], prediction: str, score: float) -> dict[str, Any]:
    return {
        "id": row["id"], "reference": row["target"], "prediction": prediction, "score": score, "source": row["source"],
        "exact": prediction == row["target"], "copied": prediction == row["source"], "empty": not prediction,
        "group": row["source"],  # a sentence may have several translations
    }  # fmt: skip
