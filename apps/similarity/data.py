"""From pairs to batches: pairs are tokenised once, into the store; batches are read from there.

A prepared set holds the tokeniser, a file of records for each split with the tokens of both sentences, the range of the
scores, and, if the user brings word vectors, those of the words that occur.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unroll.app import Data
from unroll.data import copies
from unroll.data.files import read_json, read_jsonl, sha256, write_json, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import UserError, few
from unroll.sequence.batching import loader, pad
from unroll.sequence.tokens import Tokeniser, Units

from .sources import ENTAILMENT, UNLABELLED, Pair, Source, table
from .text import plain
from .vectors import VECTORS, write_vectors

NAME = "similarity"
MOST_KNOWN = 0.5
"""share of the sentences of test that may be in train without a note"""


class Batch(NamedTuple):
    """Pairs of similar length. Both sentences of all pairs are in one tensor, so that one pass encodes them."""

    tokens: Tensor
    """first sentences, then second ones, [T, 2B] int64; arbitrary beyond a sentence's end"""
    lengths: Tensor
    """tokens of each sentence, [2B]"""
    scores: Tensor
    """0 nothing in common, 1 the same, [B]"""
    labels: Tensor
    """number in ENTAILMENT, or UNLABELLED, [B]"""
    records: list[dict[str, Any]]
    """for each pair: id, a, b, score on the source's own scale, label"""


def prepare(store: Store, source: Source, *, units: Units, vocabulary: int, vectors: Path | None = None) -> Prepared:
    """Tokenise all pairs of `source`.

    Args:
        units: characters, words or (byte-pair) pieces.
        vocabulary: maximum vocabulary size, the most frequent ones of the training pairs.
        vectors: the user's word vectors; words of val and test that have one are known as well.

    Raises:
        UserError: a row cannot be used (names it), a split has no pairs, or the file of vectors cannot be used.
    """
    if vectors and units != "words":
        raise UserError(f"data.vectors={vectors}: word vectors need data.units=words, not {units}")

    def write(folder: Path) -> None:
        pairs, left_out, drawn = _usable(source, units)
        tokeniser = Tokeniser.fit(_texts(p for p in pairs if p.split == "train"), units, vocabulary)
        facts: dict[str, Any] = {"low": source.low, "high": source.high}
        if vectors:
            words = {word for text in _texts(pairs) for word in text.split()}
            tokeniser, facts[VECTORS] = write_vectors(folder, vectors, words, tokeniser)
        for split in SPLITS:
            write_jsonl(folder / f"{split}.jsonl", (_record(p, tokeniser) for p in pairs if p.split == split))
        items = [copies.Item(p.id, p.split, f"{p.score:g}", repr(sorted((p.a, p.b)))) for p in pairs]
        alike = source.check_varied("score", [(p.split, f"{p.score:g}") for p in pairs])
        said = [*drawn, *alike, *copies.notes(items, "score")]
        notes = {"left_out": left_out, "known": _known(pairs), "notes": said}
        write_json(folder / "facts.json", facts | {"tokeniser": tokeniser.to_json()} | notes)

    spec: dict[str, Any] = {"source": source.spec, "units": units, "vocabulary": vocabulary}
    if vectors:
        spec["vectors"] = sha256(vectors)
    return store.prepare(NAME, spec, write)


def _usable(source: Source, units: Units) -> tuple[list[Pair], list[str], list[str]]:
    """(the pairs in plain text, the ids of those with an empty sentence, notes on splits that were drawn)."""
    pairs = [pair._replace(a=plain(pair.a, units), b=plain(pair.b, units)) for pair in source.read()]
    usable, drawn = table.completed([pair for pair in pairs if pair.a and pair.b])
    source.check_splits({pair.split for pair in usable}, "pairs")
    return usable, [pair.id for pair in pairs if not (pair.a and pair.b)], drawn


def _known(pairs: Sequence[Pair]) -> float:
    """Fraction of the sentences of test that occur in train."""
    train, test = ({text for p in pairs if p.split == split for text in (p.a, p.b)} for split in ("train", "test"))
    return len(train & test) / len(test)


def _texts(pairs: Iterable[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield from (f"{pair.a} ", f"{pair.b} ")


def _record(pair: Pair, tokeniser: Tokeniser) -> dict[str, Any]:
    numbers = {"tokens_a": tokeniser.encode(pair.a), "tokens_b": tokeniser.encode(pair.b)}
    return {"id": pair.id, "a": pair.a, "b": pair.b, "score": pair.score, "label": pair.label} | numbers


def batches(prepared: Prepared, *, size: int, seed: int) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        prepared: see `prepare`.
        size: tokens in a batch, padding included, counted over the first sentences.
        seed: of the order.
    """
    facts = read_json(prepared.folder / "facts.json")
    low, width = facts["low"], facts["high"] - facts["low"]
    loaders = {}
    for split in SPLITS:
        rows = [r | {"target": (r["score"] - low) / width} for r in read_jsonl(prepared.folder / f"{split}.jsonl")]
        lengths = [max(len(row["tokens_a"]), len(row["tokens_b"])) for row in rows]
        loaders[split] = loader(rows, lengths, size, collate, seed=seed, shuffle=split == "train")
    if VECTORS in facts:
        # Only a fresh model reads them; a saved one has its own weights.
        facts[VECTORS]["folder"] = str(prepared.folder)
    notes = tuple(_notes(facts.pop("left_out"), facts.pop("notes", ()), facts.pop("known", 0.0)))
    return Data(**loaders, facts=facts, digest=prepared.digest, split=prepared.spec["source"]["split"], notes=notes)


def _notes(left_out: list[str], others: Sequence[str], known: float) -> Iterator[str]:
    if left_out:
        yield f"{len(left_out)} pairs have an empty sentence and are left out: {few(left_out)}"
    yield from others
    if known > MOST_KNOWN:
        yield (
            f"{known:.0%} of the sentences of test are in train as well: its figures say little about new sentences; "
            "a column split divides them as you want"
        )


def collate(records: list[dict[str, Any]]) -> Batch:
    """Pairs to a batch, time first."""
    sentences = [torch.tensor(record[side]) for side in ("tokens_a", "tokens_b") for record in records]
    tokens, lengths = pad(sentences)
    scores = torch.tensor([record["target"] for record in records], dtype=torch.float32)
    numbers = [ENTAILMENT.index(record["label"]) if record["label"] else UNLABELLED for record in records]
    shown = [{key: record[key] for key in ("id", "a", "b", "score", "label")} for record in records]
    return Batch(tokens, lengths, scores, torch.tensor(numbers), shown)
