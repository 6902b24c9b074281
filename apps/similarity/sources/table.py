"""The values in a row of pairs, checked with errors that name file and row; and how pairs are split."""

import math
from collections.abc import Sequence

from unroll.data import splits
from unroll.data.source import SPLITS
from unroll.errors import UserError

from . import ENTAILMENT, Pair


def sentence(where: str, text: str) -> str:
    """The text itself. Raises UserError if it is empty."""
    if not text:
        raise UserError(f"{where}: one of its sentences is empty; write it, or remove the row")
    return text


def score(where: str, text: str, low: float, high: float, hint: str = "correct it") -> float:
    """The number in `text`. Raises UserError if it is not one, is NaN, or is outside `low` to `high`."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: its score {text!r} is no number; write it like 3.5") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise UserError(f"{where}: its score {text} is not between {low:g} and {high:g}; {hint}")
    return value


def label(where: str, text: str) -> str:
    """An entailment label. Raises UserError for an unknown one."""
    name = text.strip().upper()
    if name and name not in ENTAILMENT:
        raise UserError(f"{where}: label {text!r}: write one of {', '.join(ENTAILMENT)}, or nothing")
    return name


def completed(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """(the pairs, with missing splits drawn from train; notes on that)."""
    given = [pair.split for pair in pairs]
    if {*SPLITS} <= {*given}:
        return pairs, []
    found = split_by_sentence(pairs)
    return found, list(splits.drawn(given, [pair.split for pair in found]))


def split_by_sentence(pairs: Sequence[Pair], share: float = splits.SHARE) -> list[Pair]:
    """The pairs, with missing splits drawn from train: a tenth of it each, so that no sentence is in two splits.

    Pairs that share a sentence stay together. If few sentences make many pairs, there is no such split: then each pair
    is a group of its own, and preparing notes that the splits share sentences.
    """
    given, group = [pair.split for pair in pairs], _groups(pairs)
    divided = splits.completed(given, [group[pair.a] for pair in pairs], [pair.a for pair in pairs], share)
    if not {*SPLITS} <= {*divided}:
        both = ["\n".join(sorted((pair.a, pair.b))) for pair in pairs]
        divided = splits.completed(given, both, both, share)
    return [pair._replace(split=split) for pair, split in zip(pairs, divided, strict=True)]


def _groups(pairs: Sequence[Pair]) -> dict[str, str]:
    """The representative of each sentence, the same for all sentences linked by pairs (union-find)."""
    parent: dict[str, str] = {}

    def root(sentence: str) -> str:
        parent.setdefault(sentence, sentence)
        while parent[sentence] != sentence:
            parent[sentence] = parent[parent[sentence]]
            sentence = parent[sentence]
        return sentence

    for pair in pairs:
        parent[root(pair.a)] = root(pair.b)
    return {sentence: root(sentence) for sentence in parent}
