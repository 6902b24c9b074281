"""How good captions are: BLEU, CIDEr, chrF, and for built-in pictures the facts. Pure Python, no Java."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from pycocoevalcap.cider.cider import Cider
from sacrebleu.metrics import BLEU, CHRF

from apps.captioning.grammar import Judgement, judge, parse
from apps.captioning.scenes import Thing

SIGNATURE = "words: lower case, no punctuation|cider: pycocoevalcap, frequencies of this split|bleu, chrf: sacrebleu"


def measure(records: Sequence[dict[str, Any]]) -> tuple[dict[str, float], list[float]]:
    """Metrics of a split, and a score for each record: CIDEr, or the share of its claims that are true.

    Args:
        records: with "prediction", "references", and "scene" (None where nobody knows the facts).
    """
    predictions, references = [r["prediction"] for r in records], [r["references"] for r in records]
    metrics, scores = texts(predictions, references)
    if records and all(record["scene"] for record in records):
        judged = [judge(r["prediction"], tuple(Thing(*thing) for thing in r["scene"])) for r in records]
        scores = [one.true / one.stated for one in judged]
        metrics = facts(judged) | {"sentences": sum(parse(p) is not None for p in predictions) / len(records)} | metrics
    return metrics, scores


def facts(judged: Sequence[Judgement]) -> dict[str, float]:
    """facts_true: share of the stated facts that are true; facts_told: share of the true facts that are stated."""
    return {
        "facts_true": sum(one.true for one in judged) / sum(one.stated for one in judged),
        "facts_told": sum(one.told for one in judged) / sum(one.facts for one in judged),
    }


def texts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], list[float]]:
    """cider (times 1, as published), bleu_1 to bleu_4 and chrf (0 to 100), and the CIDEr of each caption.

    Args:
        predictions: words with spaces between.
        references: of each prediction, as many as there are.
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
