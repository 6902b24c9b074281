"""From texts to token streams on disk, and from there to windows.

A prepared set holds three streams of token numbers, and in `facts.json` the vocabulary, the counts of each split, and
where the documents of val and test begin.
"""

import json
from bisect import bisect_left
from pathlib import Path
from typing import Any

from unroll.app import Data
from unroll.data.files import read_json, write_json
from unroll.data.source import SPLITS, Split
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence.stream import TokenWriter, Window, open_tokens, stream_loader
from unroll.sequence.tokens import Tokeniser, Units, whole_words

from .sources import Source

NAME = "language"
VERSION = 2
"""part of the specification: raise it when the same settings give other tokens"""
STEPS = 200
"""length of a window in evaluation, where windows only limit memory"""
BY_CHARACTER = "use data.units=characters"
SMALLER = "lower train.batch or train.window"
"""what a user can do about a text without spaces, and about one that is too short"""


def prepare(store: Store, source: Source, *, units: Units, size: int) -> Prepared:
    """Find the vocabulary of the training split, and write the token numbers of every split. Each text is read twice.

    Raises:
        UserError: a text cannot be read, or a split has no tokens.
    """

    def write(folder: Path) -> None:
        blocks = source.read("train")
        blocks = blocks if units == "characters" else whole_words(blocks, "the training split", BY_CHARACTER)
        tokeniser = Tokeniser.fit(blocks, units, size)
        facts: dict[str, Any] = {"tokeniser": tokeniser.to_json(), "counts": {}, "documents": {}}
        for split in SPLITS:
            facts["counts"][split], facts["documents"][split] = _encode(folder, source, split, tokeniser)
        write_json(folder / "facts.json", facts)

    return store.prepare(NAME, {"version": VERSION, **source.spec, "units": units, "size": size}, write)


def _encode(
    folder: Path, source: Source, split: Split, tokeniser: Tokeniser
) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """Write a split's stream; (counts of its tokens and unknown tokens, its documents with their first tokens)."""
    documents = source.documents(split) if split != "train" else []
    starts = [start for _, start in documents]
    unknown, at, found = 0, 0, list[tuple[str, int]]()
    with TokenWriter(folder / f"{split}.tokens", len(tokeniser)) as writer:
        for text in tokeniser.recut(source.read(split), f"the {split} split", BY_CHARACTER):
            numbers = tokeniser.encode(text)
            begun = documents[len(found) : bisect_left(starts, at + len(text))]
            places = tokeniser.places(text, numbers, [start - at for _, start in begun])
            found += [(name, writer.count + place) for (name, _), place in zip(begun, places, strict=True)]
            unknown += numbers.count(-1 if tokeniser.unknown is None else tokeniser.unknown)
            writer.write(numbers)
            at += len(text)
    if writer.count == 0:
        raise UserError(f"data.source={source.spec['source']}: the {split} split has no tokens; give it more text")
    return {"tokens": writer.count, "unknown": unknown}, found


def batches(prepared: Prepared, *, batch: int, window: int, randomised: bool, seed: int) -> Data[Window]:
    """Windows of `batch` parallel rows for training; val and test are one row each, so that every token counts.

    Raises:
        UserError: a split is shorter than one window.
    """
    facts = read_json(prepared.folder / "facts.json")
    tokeniser = Tokeniser.from_json(facts["tokeniser"])
    streams = {split: open_tokens(prepared.folder / f"{split}.tokens", len(tokeniser)) for split in SPLITS}
    where = f"{prepared.spec['source']}, the train split"

    def whole(split: Split) -> Any:
        documents = facts["documents"][split]
        return stream_loader(
            streams[split], batch=1, steps=STEPS, first=tokeniser.first, name=f"the {split} split",
            documents=documents if len(documents) > 1 else (), cure=SMALLER,
        )  # fmt: skip

    return Data(
        train=stream_loader(
            streams["train"], batch=batch, steps=window, first=tokeniser.first, name=where, cure=SMALLER,
            randomised=randomised, seed=seed,
        ),
        val=whole("val"),
        test=whole("test"),
        facts={"tokeniser": facts["tokeniser"]},
        digest=prepared.digest,
        split=prepared.spec["split"],
        notes=tuple(_notes(facts["counts"])),
    )  # fmt: skip


def _notes(counts: dict[str, dict[str, int]]) -> list[str]:
    sizes = ", ".join(f"{split} {counts[split]['tokens']:,}" for split in SPLITS)
    unknown = {split: counts[split]["unknown"] / counts[split]["tokens"] for split in SPLITS}
    notes = [f"tokens: {sizes}"]
    if max(unknown.values()) > 0.01:
        notes.append("unknown tokens: " + json.dumps({split: f"{share:.1%}" for split, share in unknown.items()}))
    return notes
