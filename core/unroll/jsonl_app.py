"""For applications whose examples fit into memory: from records to prepared splits to batches.

A record is a dict of plain JSON values. Built-in records are drawn from a function without duplicates, so that the
splits are disjoint. The user's own records are a file with one per line (JSON Lines); one in ten is for validation and
one in ten for testing.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal

import numpy as np
from pydantic import Field
from torch.utils.data import Dataset

from unroll import surface
from unroll.app import BatchT, Data
from unroll.config import Config, DataConfig, TrainConfig
from unroll.data.files import read_jsonl, sha256, write_jsonl
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.data.tables import objects
from unroll.data.text import read_text
from unroll.errors import UserError
from unroll.reads import Reads
from unroll.sequence.batching import loader

Record = dict[str, Any]
FEWEST = 10
"""fewest records that a user's file must have, so that every split gets one"""
PATIENCE = 1000
"""draws in a row without a new record before giving up"""


class RecordsData(DataConfig):
    """Where the examples come from."""

    sources: ClassVar = {
        "builtin": Reads(("examples",)),
        "file": Reads(path="a file of records, one JSON object per line", files=("*",)),
    }
    source: Literal["builtin", "file"] = "builtin"
    """builtin: made by the application; file: your own records, one JSON object per line, at data.path"""
    examples: int = Field(2000, ge=10)
    """builtin: number of training examples to generate"""


class RecordsTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(1000, ge=1)
    """steps per batch, including padding"""


class RecordsConfig(Config):
    """The settings of an application on records; inherit from it to add your own."""

    data: RecordsData = RecordsData()
    train: RecordsTrain = RecordsTrain()


@dataclass(frozen=True)
class Records(Generic[BatchT]):
    """An application's description of its records; `prepare` and `batches` then are its App.prepare and App.data."""

    name: str
    """the application's"""
    example: Callable[[np.random.Generator], Record]
    """draws a built-in record"""
    fields: Mapping[str, type]
    """name -> type of the fields that each of the user's records must have"""
    facts: Callable[[list[Record]], dict[str, Any]]
    """what the model must know about the training records, as plain JSON values"""
    length: Callable[[Record], int]
    """steps of a record"""
    collate: Callable[[list[Record], dict[str, Any]], BatchT]
    """(records, facts) -> a batch"""

    def prepare(self, config: Any, store: Store) -> None:
        """Write the records of each split to the store; does nothing if they exist.

        Raises:
            UserError: names the user's file, and the line that is not a valid record.
        """
        self._prepared(config, store)

    def batches(self, config: Any, store: Store) -> Data[BatchT]:
        """Loaders of the three splits, in batches of similar lengths."""
        prepared = self._prepared(config, store)
        rows = {split: list(read_jsonl(prepared.folder / f"{split}.jsonl")) for split in SPLITS}
        facts = self.facts(rows["train"])
        return Data(
            **{split: self._loader(split, some, facts, config.train) for split, some in rows.items()},
            facts=facts,
            digest=prepared.digest,
            split=prepared.spec["split"],
        )

    def _prepared(self, config: Any, store: Store) -> Prepared:
        wanted = config.data
        if wanted.source == "builtin":
            spec: dict[str, Any] = {"examples": wanted.examples, "split": "drawn, no record twice"}
            read = partial(drawn, self.example, wanted.examples)
        elif wanted.path is None:
            raise UserError("data.source=file: name your file of records, " + surface.settings("data.path=FILE.jsonl"))
        else:
            spec = {"sha256": sha256(wanted.path), "split": "by number of the record, modulo ten"}
            read = partial(own, wanted.path, self.fields)

        def write(folder: Path) -> None:
            for split, rows in read().items():
                write_jsonl(folder / f"{split}.jsonl", rows)

        return store.prepare(self.name, {"source": wanted.source, **spec}, write)

    def _loader(self, split: str, rows: list[Record], facts: dict[str, Any], train: RecordsTrain) -> Any:
        steps = [max(self.length(row), 1) for row in rows]
        collate = _Collate(self.collate, facts)
        return loader(_Rows(rows), steps, train.batch, collate, seed=train.seed, shuffle=split == "train")


def drawn(example: Callable[[np.random.Generator], Record], examples: int) -> dict[str, list[Record]]:
    """`examples` distinct records for training, and a fifth as many each for validation and test.

    Raises:
        UserError: `example` does not make that many distinct ones.
    """
    few = max(examples // 5, 1)
    rows = iter(_different(example, examples + 2 * few))
    sizes = {"val": few, "test": few, "train": examples}
    return {split: [{"id": f"{split}-{i}", **next(rows)} for i in range(size)] for split, size in sizes.items()}


def _different(example: Callable[[np.random.Generator], Record], wanted: int) -> Iterator[Record]:
    random, seen, idle = np.random.default_rng(0), set[str](), 0
    while len(seen) < wanted:
        row = example(random)
        text = json.dumps(row, sort_keys=True)
        idle = idle + 1 if text in seen else 0
        if idle > PATIENCE:
            raise UserError(f"data.examples: {wanted:,} are needed, but only {len(seen):,} differ; ask for fewer")
        if not idle:
            seen.add(text)
            yield row


def own(path: Path, fields: Mapping[str, type]) -> dict[str, list[Record]]:
    """The user's records in three splits, each with its line number as its id. Raises UserError like `prepare`."""
    found = objects(path, read_text(path))
    rows = [_checked(row, f"{path}, record {number}", fields) for number, (_, row) in enumerate(found, start=1)]
    if len(rows) < FEWEST:
        raise UserError(f"{path}: has {len(rows)} records, but {FEWEST} are needed for three splits; add some")
    named = [{"id": f"record-{number}", **row} for number, row in enumerate(rows, start=1)]
    places: dict[str, Sequence[int]] = {"train": range(8), "val": [8], "test": [9]}
    return {split: [row for i, row in enumerate(named) if i % 10 in place] for split, place in places.items()}


def _checked(row: Record, where: str, fields: Mapping[str, type]) -> Record:
    for field, kind in fields.items():
        if not isinstance(row.get(field), kind) or not row[field]:
            raise UserError(f"{where}: its {field!r} must be a {kind.__name__} that is not empty; correct the line")
    return row


@dataclass(frozen=True)
class _Collate:
    """Turns records into a batch; a class, so that it can be sent to worker processes."""

    collate: Callable[[list[Record], dict[str, Any]], Any]
    facts: dict[str, Any]

    def __call__(self, rows: list[Record]) -> Any:
        return self.collate(rows, self.facts)


class _Rows(Dataset[Record]):
    def __init__(self, rows: list[Record]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        return self._rows[index]
