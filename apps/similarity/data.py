"""From a prepared set to batches."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared
from unroll.errors import few
from unroll.sequence.batching import loader, pad

from .sources import ENTAILMENT, UNLABELLED
from .vectors import VECTORS

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


def batches(prepared: Prepared, *, size: int, seed: int) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        prepared: see `preparation`.
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
