"""Scores of the user's pairs, or a ranking of sentences."""

from collections.abc import Sequence
from typing import Any

from unroll.errors import UserError

from .inputs import Input
from .model import Siamese
from .search import Index


def predict(model: Siamese, inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """Scores of pairs; with predict.rank, the inputs most similar to the first one.

    Args:
        inputs: pairs, each one text `first | second` (or with a tab), or a tuple or list of two texts.

    Raises:
        UserError: an input is not a pair, a sentence is empty, or there is nothing to rank.
    """
    if model.rank:
        return _ranked(model, [str(text) for text in inputs])
    pairs = [_pair(given, number) for number, given in enumerate(inputs, start=1)]
    # Each sentence once, however many pairs it is in.
    sentences = list(dict.fromkeys(text for pair in pairs for text in pair))
    rows = {text: row for row, text in enumerate(sentences)}
    vectors = model.encode(sentences, "sentence")
    u, v = (vectors[[rows[pair[side]] for pair in pairs]] for side in (0, 1))
    found = zip(pairs, model.scores(u, v), model.entailments(u, v), strict=True)
    return [
        {"score": round(score, 3), "a": a, "b": b} | ({"entailment": name} if name else {})
        for (a, b), score, name in found
    ]


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
        raise UserError("predict.rank=true: give the query first, then the sentences to rank, one input each")
    found = Index(model, [text for _, text in lines]).search(query, model.top)
    return [
        {"rank": rank, "score": round(score, 3), "line": lines[row][0], "sentence": text}
        for rank, (score, row, text) in enumerate(found, start=1)
    ]
