"""Figures of what was recognised, and where in the recording."""

from collections.abc import Iterable
from itertools import groupby

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unroll.app import Report
from unroll.drawing.confusion import draw_counts
from unroll.sequence import ctc, metrics

from .data import Batch
from .features import HOP
from .model import Recogniser

NOTHING = "(nothing)"
MOST_WORDS = 15
"""rows of the confusion matrix; rarer words are left out"""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart with any colour vision"""
Array = NDArray[np.float32]


def figures(model: Recogniser, batches: Iterable[Batch], report: Report) -> dict[str, Figure]:
    """`confusion`: which word was taken for which; `alignment`: one utterance, and where in time its symbols are."""
    batch = next(iter(batches))
    return {"confusion": confusion(report), "alignment": alignment(model, batch, row=0)}


def confusion(report: Report) -> Figure:
    """Counts of (spoken, recognised) words in the aligned transcripts of a report, as shares of the spoken word."""
    rows = report.records
    aligned = metrics.align([row["reference"] for row in rows], [row["prediction"] for row in rows])
    counts = metrics.confusions(aligned)
    spoken = _frequent(counts, 0)
    table = np.array([[counts[a, b] for b in [*spoken, ""]] for a in [*spoken, ""]])
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot()
    draw_counts(axes, table, [*spoken, NOTHING])
    axes.set(xlabel="recognised", ylabel="spoken", title=_title(report))
    return figure


def _frequent(counts: dict[metrics.Pair, int], side: int) -> list[str]:
    totals: dict[str, int] = {}
    for pair, count in counts.items():
        totals[pair[side]] = totals.get(pair[side], 0) + count
    totals.pop("", None)
    return sorted(sorted(totals, key=lambda word: (-totals[word], word))[:MOST_WORDS])


def _title(report: Report) -> str:
    wrong, words = sum(row["score"] for row in report.records), sum(row["words"] for row in report.records)
    return f"word error rate {report.metrics['wer']:.2%} ({wrong} errors in {words:,} words)"


@torch.no_grad()
def alignment(model: Recogniser, batch: Batch, row: int) -> Figure:
    """The log-mel frames of an utterance, and below them the probabilities of its symbols with their alignment."""
    frames = int(batch.lengths[row])
    log_probs, lengths, _ = model(batch.features[:frames, [row]], batch.lengths[[row]])
    record, prediction = batch.records[row], model.decode(log_probs, lengths)[0]
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    mel, probability = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    seconds = frames * HOP
    image = batch.features[:frames, row].T.float().cpu().numpy()
    mel.imshow(image, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(image)))
    mel.set(ylabel="mel band", title=f"{record['id']}: {record['text']!r}, recognised as {prediction!r}")
    numbers = model.vocabulary.encode(record["text"], record["id"])
    spans = ctc.align(log_probs[:, 0], numbers)
    step = model.stack * HOP
    _draw_words(mel, model, numbers, [(start * step, end * step) for start, end in spans])
    _draw_probabilities(probability, model, numbers, spans, log_probs[:, 0].exp().cpu().numpy())
    probability.set(xlabel="seconds", ylabel="probability (grey: blank)", ylim=(0, 1.2), xlim=(0, seconds))
    return figure


def _draw_words(axes: Axes, model: Recogniser, numbers: list[int], spans: list[tuple[float, float]]) -> None:
    """Each word at the top, over the span that its symbols are aligned to."""
    placed = list(zip((model.vocabulary.symbols[number] for number in numbers), spans, strict=True))
    for space, group in groupby(placed, lambda symbol: symbol[0] == " "):
        if space:
            continue
        for symbols in [list(group)] if model.vocabulary.units == "characters" else [[one] for one in group]:
            start, end = symbols[0][1][0], symbols[-1][1][1]
            top = axes.get_ylim()[1]
            axes.plot([start, end], [0.98 * top] * 2, color="white", linewidth=2)
            word = "".join(symbol for symbol, _ in symbols)
            axes.text((start + end) / 2, 0.96 * top, word, color="white", ha="center", va="top")


def _draw_probabilities(
    axes: Axes, model: Recogniser, numbers: list[int], spans: list[tuple[int, int]], probabilities: Array
) -> None:
    """A curve for each symbol of the transcript and for the blank, and each symbol's name above its aligned peak."""
    step = model.stack * HOP
    times = (np.arange(len(probabilities)) + 0.5) * step
    axes.fill_between(times, probabilities[:, ctc.BLANK], color="0.9")
    colour = {number: COLOURS[i % len(COLOURS)] for i, number in enumerate(dict.fromkeys(numbers))}
    for number in colour:
        axes.plot(times, probabilities[:, number], color=colour[number], linewidth=1.2)
    for number, (start, end) in zip(numbers, spans, strict=True):
        peak = start + int(probabilities[start:end, number].argmax())
        name = {" ": "\u2423"}.get(model.vocabulary.symbols[number], model.vocabulary.symbols[number])
        axes.text(times[peak], probabilities[peak, number] + 0.02, name, color=colour[number], ha="center")
