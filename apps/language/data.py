"""From texts to token streams on the disk, and from there to windows.

A prepared set is a vocabulary (in `facts.json`, with the counts of each split) and three streams of token numbers.
"""

import json
from pathlib import Path
from typing import Any

from apps.language.sources import SPLITS, Source
from core.app import Data
from core.data.files import read_json, write_json
from core.data.store import Prepared, Store
from core.errors import UserError
from core.sequence.stream import TokenWriter, open_tokens, stream_loader
from core.sequence.tokens import Tokeniser, Units, whole_words

NAME = "language"
VERSION = 1
"""part of the specification: raise it when the same settings give other tokens"""
STEPS = 200
"""of a window in evaluation, where windows only bound the memory"""


def prepare(store: Store, source: Source, *, units: Units, size: int) -> Prepared:
    """Find the vocabulary of the training split, and write every split in its numbers; each text is read twice.

    Raises:
        UserError: a text that cannot be read, or a split without any token.
    """

    def write(folder: Path) -> None:
        blocks = source.read("train")
        blocks = blocks if units == "characters" else whole_words(blocks, "the training split")
        tokeniser = Tokeniser.fit(blocks, units, size)
        counts = {split: _encode(folder, source, split, tokeniser) for split in SPLITS}
        write_json(folder / "facts.json", {"tokeniser": tokeniser.to_json(), "counts": counts})

    return store.prepare(NAME, {"version": VERSION, **source.spec, "units": units, "size": size}, write)


def _encode(folder: Path, source: Source, split: Any, tokeniser: Tokeniser) -> dict[str, int]:
    """Write a split's stream; its tokens, those unknown, and the characters of text that they stand for."""
    unknown = 0
    with TokenWriter(folder / f"{split}.tokens", len(tokeniser)) as writer:
        for numbers in tokeniser.encode_blocks(source.read(split), f"the {split} split"):
            unknown += numbers.count(-1 if tokeniser.unknown is None else tokeniser.unknown)
            writer.write(numbers)
    if writer.count == 0:
        raise UserError(f"data.source={source.spec['source']}: the {split} split has no tokens; give it more text")
    return {"tokens": writer.count, "unknown": unknown}


def batches(prepared: Prepared, *, batch: int, window: int, randomised: bool, seed: int) -> Data:
    """Windows of `batch` parallel rows to train on; val and test as one row each, so that every token counts.

    Raises:
        UserError: a split shorter than one window.
    """
    facts = read_json(prepared.folder / "facts.json")
    tokeniser = Tokeniser.from_json(facts["tokeniser"])
    streams = {split: open_tokens(prepared.folder / f"{split}.tokens", len(tokeniser)) for split in SPLITS}
    where = f"{prepared.spec['source']}, the train split"
    return Data(
        train=stream_loader(
            streams["train"], batch=batch, steps=window, first=tokeniser.first, name=where, randomised=randomised,
            seed=seed,
        ),
        val=stream_loader(streams["val"], batch=1, steps=STEPS, first=tokeniser.first, name="the val split"),
        test=stream_loader(streams["test"], batch=1, steps=STEPS, first=tokeniser.first, name="the test split"),
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
