"""For applications whose examples fit into memory: from records to prepared splits to batches.

A record is a dict of plain JSON values. The built-in ones are drawn from a function, and no two of them are the same,
so that the splits are disjoint. The user's own are a file with one record per line (JSON Lines), of which every tenth
is for validation and every tenth for the test.
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
"""the user's own records, which give every split at least one"""
PATIENCE = 1000
"""draws without a new record after which there are no more"""


class RecordsData(DataConfig):
    """Where the examples come from."""

    sources: ClassVar = {
        "builtin": Reads(("examples",)),
        "file": Reads(path="a file of records, one JSON object per line", files=("*",)),
    }
    source: Literal["builtin", "file"] = "builtin"
    """builtin: made by the application; file: your own records, one JSON object per line, at data.path"""
    examples: int = Field(2000, ge=10)
    """builtin: training examples that are made"""


class RecordsTrain(TrainConfig):
    """Length, precision and seed of the training."""

    batch: int = Field(1000, ge=1)
    """steps in a batch, padding included"""


class RecordsConfig(Config):
    """The settings of an application on records; one with settings of its own inherits from it."""

    data: RecordsData = RecordsData()
    train: RecordsTrain = RecordsTrain()


@dataclass(frozen=True)
class Records(Generic[BatchT]):
    """What an application says of its records; `prepare` and `batches` are then its App.prepare and App.data."""

    name: str
    """the application's"""
    example: Callable[[np.random.Generator], Record]
    """draws a built-in record"""
    fields: Mapping[str, type]
    """name -> type of what each of the user's records must have"""
    facts: Callable[[list[Record]], dict[str, Any]]
    """what the model must know of the training records, as plain JSON values"""
    length: Callable[[Record], int]
    """steps of a record"""
    collate: Callable[[list[Record], dict[str, Any]], BatchT]
    """(some records, the facts) -> a batch"""

    def prepare(self, config: Any, store: Store) -> None:
        """The records of each split, in the store; a second time it does nothing.

        Raises:
            UserError: names the user's file, and the line that is no such record.
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
            raise UserError(f"data.examples: {wanted:,} are needed, and only {len(seen):,} differ; ask for fewer")
        if not idle:
            seen.add(text)
            yield row


def own(path: Path, fields: Mapping[str, type]) -> dict[str, list[Record]]:
    """The user's records in three splits, each with the number of its line as its id. Raises UserError as `prepare`."""
    found = objects(path, read_text(path))
    rows = [_checked(row, f"{path}, record {number}", fields) for number, (_, row) in enumerate(found, start=1)]
    if len(rows) < FEWEST:
        raise UserError(f"{path}: has {len(rows)} records, and {FEWEST} are needed for three splits; add some")
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
    """Records to a batch; a class, since worker processes must be able to receive it."""

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
