"""Word and character error rates, and the alignments behind them, by jiwer (Levenshtein)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import jiwer

from unroll.sequence.text import Units

Pair = tuple[str, str]
"""(reference, prediction), "" on the side that has no counterpart"""


@dataclass(frozen=True)
class Errors:
    """The fewest edits that turn predictions into references."""

    substitutions: int
    deletions: int
    insertions: int
    length: int
    """words (or characters) of the references"""

    @property
    def count(self) -> int:
        """Edits of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per word of the references. May exceed one; if there are no words, it is the number of edits."""
        return self.count / max(1, self.length)


def align(references: Sequence[str], predictions: Sequence[str], units: Units = "words") -> list[list[Pair]]:
    """Per record, the aligned words (or characters) of reference and prediction."""
    process = jiwer.process_words if units == "words" else jiwer.process_characters
    output = process(list(references), list(predictions))
    rows = zip(output.references, output.hypotheses, output.alignments, strict=True)
    return [list(_pairs(reference, prediction, chunks)) for reference, prediction, chunks in rows]


def _pairs(
    reference: Sequence[str], prediction: Sequence[str], chunks: Iterable[jiwer.AlignmentChunk]
) -> Iterable[Pair]:
    for chunk in chunks:
        yield from zip_longest(
            reference[chunk.ref_start_idx : chunk.ref_end_idx],
            prediction[chunk.hyp_start_idx : chunk.hyp_end_idx],
            fillvalue="",
        )


def errors(pairs: Iterable[Pair]) -> Errors:
    """Errors of one aligned record."""
    pairs = list(pairs)
    deletions = sum(not predicted for _, predicted in pairs)
    insertions = sum(not wanted for wanted, _ in pairs)
    wrong = sum(wanted != predicted for wanted, predicted in pairs)
    return Errors(wrong - deletions - insertions, deletions, insertions, len(pairs) - insertions)


def corpus_errors(records: Iterable[Iterable[Pair]]) -> Errors:
    """Errors of a corpus: edits and lengths are summed before dividing, so longer records count more."""
    return errors(chain.from_iterable(records))


def confusions(records: Iterable[Iterable[Pair]]) -> Counter[Pair]:
    """How often each pair (reference, prediction) occurs, including correct ones."""
    return Counter(chain.from_iterable(records))


def show(pairs: Iterable[Pair]) -> str:
    """Two lines, reference above prediction, with `*` for gaps and differing words in capitals."""
    columns = [_column(wanted, predicted) for wanted, predicted in pairs]
    return "\n".join(" ".join(column[line] for column in columns).rstrip() for line in (0, 1))


def _column(wanted: str, predicted: str) -> Pair:
    width = max(len(wanted), len(predicted))
    top, bottom = (text.ljust(width) if text else "*" * width for text in (wanted, predicted))
    return (top, bottom) if wanted == predicted else (top.upper(), bottom.upper())
