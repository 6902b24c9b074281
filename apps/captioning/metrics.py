"""How good captions are: BLEU, CIDEr, chrF, and for built-in pictures the facts. Pure Python, no Java."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from pycocoevalcap.cider.cider import Cider
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unroll.app import Mean

from .grammar import judge, parse
from .scenes import Scene, Thing, is_held_out

SIGNATURE = "words: lower case, no punctuation|cider: pycocoevalcap, frequencies of this split|bleu, chrf: sacrebleu"


MEANS = {"cider": Mean("cider")}
FACT_MEANS = {
    "facts_true": Mean("true", "stated", share=True),
    "facts_told": Mean("told", "facts", share=True),
    "sentences": Mean("sentence", share=True),
}
"""facts_true: share of the stated facts that are true; facts_told: share of the true facts that are stated; sentences:
share of the captions that the grammar can parse"""


def measure(records: Sequence[dict[str, Any]]) -> tuple[dict[str, float], list[dict[str, Any]], dict[str, Mean]]:
    """Metrics of a split; columns for each record, of which "score" is its CIDEr, or the share of its claims that are
    true; and how metrics come from the columns.

    Args:
        records: with "prediction", "references", and "scene" (None where the facts are unknown).
    """
    predictions, references = [r["prediction"] for r in records], [r["references"] for r in records]
    metrics, ciders = texts(predictions, references)
    columns: list[dict[str, Any]] = [{"score": cider, "cider": cider} for cider in ciders]
    if not records or not all(record["scene"] for record in records):
        return metrics, columns, MEANS
    scenes = [tuple(Thing(*thing) for thing in record["scene"]) for record in records]
    judged = [judge(prediction, scene) for prediction, scene in zip(predictions, scenes, strict=True)]
    parsed = [parse(prediction) is not None for prediction in predictions]
    for column, scene, one, sentence in zip(columns, scenes, judged, parsed, strict=True):
        counts = {"true": one.true, "stated": one.stated, "told": one.told, "facts": one.facts}
        column |= {"score": one.true / one.stated, **counts, "sentence": sentence, "group": _unseen(scene)}
    return {name: mean.of(columns) for name, mean in FACT_MEANS.items()} | metrics, columns, FACT_MEANS | MEANS


def _unseen(scene: Scene) -> str | None:
    """The held-out combination in a scene: pictures that share one are not independent."""
    return next((f"{thing.texture} {thing.colour} {thing.shape}" for thing in scene if is_held_out(thing)), None)


def texts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], list[float]]:
    """cider (times 1, as published), bleu_1 to bleu_4 and chrf (0 to 100), and the CIDEr of each caption.

    Args:
        predictions: words separated by spaces.
        references: of each prediction, any number.
    """
    by_number = {i: [text] for i, text in enumerate(predictions)}
    cider, each = Cider().compute_score(dict(enumerate(map(list, references))), by_number)
    streams = [list(stream) for stream in zip_longest(*references)]  # None where a picture has fewer
    metrics = {"cider": float(cider)}
    for order in (1, 2, 3, 4):
        bleu = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        metrics[f"bleu_{order}"] = bleu.corpus_score(predictions, streams).score
    metrics["chrf"] = CHRF().corpus_score(predictions, streams).score
    return metrics, [float(one) for one in each]
