"""Per-example records of an evaluation, as Parquet: what paired comparisons and careful readers need."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_records(records: Sequence[dict[str, Any]], folder: Path, split: str) -> Path:
    """Write one row per record to `folder/split.parquet`; what is no plain value becomes JSON text."""
    path = folder / f"{split}.parquet"
    pq.write_table(pa.Table.from_pylist([{key: _plain(value) for key, value in row.items()} for row in records]), path)
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records written by `write_records`."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)
