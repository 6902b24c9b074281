"""A training step, and an evaluation."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from torch import nn

from unroll.app import Mean, Report, Step
from unroll.sequence import metrics
from unroll.sequence.text import Units

from .data import Batch
from .features import HOP
from .model import Recogniser

UNITS: tuple[Units, Units] = ("words", "characters")
MEANS = {"wer": Mean("score", "words"), "cer": Mean("character_errors", "characters")}


def step(model: Recogniser, batch: Batch, state: Any = None) -> Step:
    """The CTC loss of a batch, per symbol of its transcripts. No state is carried: utterances are whole."""
    log_probs, lengths, _ = model(batch.features, batch.lengths)
    loss = nn.functional.ctc_loss(log_probs, batch.targets, lengths, batch.target_lengths, reduction="sum")
    return Step(loss / len(batch.targets), size=batch.lengths.sum().item() * HOP)


def evaluate(model: Recogniser, batches: Iterable[Batch]) -> Report:
    """Word and character error rates over a split.

    Raises:
        UserError: a transcript with a symbol that the model does not know (names the utterance and the symbol).
    """
    rows: list[dict[str, Any]] = []
    for batch in batches:
        for row in batch.records:
            model.vocabulary.encode(row["text"], row["id"])
        log_probs, lengths, _ = model(batch.features, batch.lengths)
        predictions = model.decode(log_probs, lengths)
        rows += [row | {"prediction": text} for row, text in zip(batch.records, predictions, strict=True)]
    return report([row["text"] for row in rows], [row["prediction"] for row in rows], rows, model.decoding)


def report(references: list[str], predictions: list[str], rows: list[dict[str, Any]], decoding: str) -> Report:
    """Metrics and records for these transcripts; `rows` holds the id, speaker and seconds of each."""
    words, letters = (metrics.align(references, predictions, units) for units in UNITS)
    records = []
    for row, reference, prediction, *aligned in zip(rows, references, predictions, words, letters, strict=True):
        of_words, of_letters = map(metrics.errors, aligned)
        records.append(
            {
                "id": row["id"], "reference": reference, "prediction": prediction, "score": of_words.count,
                "words": of_words.length, "character_errors": of_letters.count, "characters": of_letters.length,
                "speaker": row["speaker"], "group": row["speaker"], "seconds": row["seconds"],
            }
        )  # fmt: skip
    rates = {"wer": metrics.corpus_errors(words).rate, "cer": metrics.corpus_errors(letters).rate}
    return Report(rates, records, f"wer|case:kept|decode:{decoding}|jiwer:{version('jiwer')}", MEANS)
