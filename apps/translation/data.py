"""From pairs of sentences to batches: sentences are tokenised once, into the store; batches are read from there.

A prepared set holds a tokeniser for each language (or one for both) and a file of records for each split.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unroll.app import Data
from unroll.data.files import read_json, read_jsonl, write_json, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.sequence.batching import loader, pad
from unroll.sequence.tokens import Tokeniser, Units

from . import text
from .sources import Pair, Source

NAME = "translation"
VERSION = 1
"""part of the specification: raise it when the same settings give other tokens"""
NOTHING = -100
"""in place of a target beyond a sentence's end; the loss ignores it"""


class Batch(NamedTuple):
    """Sentences of similar length with their translations."""

    source: Tensor
    """[S, B] int64; arbitrary beyond a sentence's end"""
    lengths: Tensor
    """tokens of each source sentence, [B]"""
    inputs: Tensor
    """the end of line, then the translation, [T, B]"""
    targets: Tensor
    """the translation, then the end of line, [T, B]; NOTHING beyond"""
    greedy: bool
    """whether evaluation decodes greedily, as on val during training"""
    records: list[dict[str, Any]]
    """for each pair: id, source, target"""


def prepare(store: Store, source: Source, *, units: Units, size: int, joint: bool, longest: int) -> Prepared:
    """Tokenise all pairs of `source`.

    Args:
        units: characters, words or (byte-pair) pieces.
        size: maximum vocabulary size of each language; with `joint`, of both together.
        joint: use one tokeniser for both languages.
        longest: maximum number of tokens in a sentence; longer ones are truncated and counted.

    Raises:
        UserError: a file cannot be used, or a split has no pairs.
    """

    def write(folder: Path) -> None:
        pairs, empty = _usable(source)
        train = [pair for pair in pairs if pair.split == "train"]
        sides = [pair.source for pair in train], [pair.target for pair in train]
        both = (
            [text.fit([*sides[0], *sides[1]], units, size)] * 2 if joint else [text.fit(s, units, size) for s in sides]
        )
        counts = Counter({"empty": empty})
        for split in SPLITS:
            chosen = (pair for pair in pairs if pair.split == split)
            write_jsonl(folder / f"{split}.jsonl", _records(chosen, both[0], both[1], longest, counts))
        tokenisers = {"source": both[0].to_json(), "target": None if joint else both[1].to_json()}
        facts = {"languages": list(source.languages), "longest": longest, **tokenisers}
        write_json(folder / "facts.json", {**facts, "counts": dict(counts)})

    spec = {"version": VERSION, **source.spec, "units": units, "size": size, "joint": joint, "longest": longest}
    return store.prepare(NAME, spec, write)


def _usable(source: Source) -> tuple[list[Pair], int]:
    """(the pairs with a sentence on both sides, the number of others)."""
    pairs = list(source.read())
    usable = [pair for pair in pairs if pair.source and pair.target]
    source.check_splits({pair.split for pair in usable}, "pairs")
    source.check_varied("translation", ((pair.split, pair.target) for pair in usable))
    return usable, len(pairs) - len(usable)


def _records(
    pairs: Iterator[Pair], source: Tokeniser, target: Tokeniser, longest: int, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        tokens = text.encode(source, pair.source), text.encode(target, pair.target)
        counts["cut"] += max(map(len, tokens)) > longest
        numbers = {"tokens_source": tokens[0][:longest], "tokens_target": tokens[1][:longest]}
        yield {"id": pair.id, "source": pair.source, "target": pair.target} | numbers


def batches(prepared: Prepared, *, budget: int, seed: int) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        budget: maximum number of tokens in a batch, counted on the longer side, padding included.
        seed: of the order.
    """
    facts = read_json(prepared.folder / "facts.json")
    counts = facts.pop("counts")
    end = tokenisers(facts)[1].first
    splits = {}
    for split in SPLITS:
        rows = list(read_jsonl(prepared.folder / f"{split}.jsonl"))
        lengths = [max(len(row["tokens_source"]), len(row["tokens_target"]) + 1) for row in rows]
        together = partial(collate, end=end, greedy=split == "val")
        splits[split] = loader(rows, lengths, budget, together, seed=seed, shuffle=split == "train")
    notes = tuple(_notes(counts, facts["longest"]))
    return Data(**splits, facts=facts, digest=prepared.digest, split=prepared.spec["split"], notes=notes)


def tokenisers(facts: dict[str, Any]) -> tuple[Tokeniser, Tokeniser]:
    """Of the source and of the target language; the same one if they share it."""
    source = Tokeniser.from_json(facts["source"])
    return source, Tokeniser.from_json(facts["target"]) if facts["target"] else source


def _notes(counts: dict[str, int], longest: int) -> Iterator[str]:
    if counts["empty"]:
        yield f"{counts['empty']:,} pairs have an empty sentence and are left out; all others stay aligned"
    if counts["cut"]:
        yield f"{counts['cut']:,} pairs have a sentence of more than data.longest={longest} tokens, which is cut there"


def collate(records: list[dict[str, Any]], end: int, greedy: bool = False) -> Batch:
    """Pairs to a batch, time first; `end` is the number of the target language's end of line."""
    source, lengths = pad([torch.tensor(record["tokens_source"]) for record in records])
    inputs, _ = pad([torch.tensor([end, *record["tokens_target"]]) for record in records])
    targets, _ = pad([torch.tensor([*record["tokens_target"], end]) for record in records], NOTHING)
    shown = [{key: record[key] for key in ("id", "source", "target")} for record in records]
    return Batch(source, lengths, inputs, targets, greedy, shown)
