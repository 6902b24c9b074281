"""What a row of pairs holds, checked value by value, every complaint with file and row; and how pairs are split."""

import math
from collections.abc import Sequence

from unroll.data.source import SPLITS, by_hash
from unroll.errors import UserError

from . import ENTAILMENT, Pair


def sentence(where: str, text: str) -> str:
    """The text itself. Raises UserError when there is none."""
    if not text:
        raise UserError(f"{where}: one of its sentences is empty; write it, or remove the row")
    return text


def score(where: str, text: str, low: float, high: float, hint: str = "correct it") -> float:
    """The number in `text`. Raises UserError for none, NaN, or one outside `low` to `high`."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: its score {text!r} is no number; {hint}") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise UserError(f"{where}: its score {text} is not between {low:g} and {high:g}; {hint}")
    return value


def label(where: str, text: str) -> str:
    """An entailment label. Raises UserError for an unknown one."""
    name = text.strip().upper()
    if name and name not in ENTAILMENT:
        raise UserError(f"{where}: label {text!r}: write one of {', '.join(ENTAILMENT)}, or nothing")
    return name


def split_by_sentence(pairs: Sequence[Pair], share: float = 0.1) -> list[Pair]:
    """A tenth of the pairs each to val and test, so that no sentence is in two splits, whatever the pairs' order.

    Pairs that share a sentence stay together. The groups whose sentences have the smallest hashes are taken, except
    those too large for a tenth. Where few sentences make many pairs there is no such division: then each pair is a
    group of its own, and preparing notes that the splits share sentences.
    """
    group = _groups(pairs)
    divided = _divided(pairs, [group[pair.a] for pair in pairs], [pair.a for pair in pairs], share)
    if {pair.split for pair in divided} == set(SPLITS):
        return divided
    both = ["\n".join(sorted((pair.a, pair.b))) for pair in pairs]
    return _divided(pairs, both, both, share)


def _divided(pairs: Sequence[Pair], groups: Sequence[str], names: Sequence[str], share: float) -> list[Pair]:
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    wanted = max(1, round(share * len(pairs)))
    ranked = sorted(members.values(), key=lambda rows: min(by_hash(names[row]) for row in rows))
    result = list(pairs)
    for split in SPLITS[:0:-1]:
        room = wanted
        for rows in [rows for rows in ranked if result[rows[0]].split == "train"]:
            if len(rows) <= room:
                room -= len(rows)
                for row in rows:
                    result[row] = result[row]._replace(split=split)
    return result


def _groups(pairs: Sequence[Pair]) -> dict[str, str]:
    """Each sentence's representative: the same for all that are linked by pairs (union-find)."""
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
