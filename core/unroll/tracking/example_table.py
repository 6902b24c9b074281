"""Per-example records of an evaluation, as Parquet: for paired comparisons and error analysis."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unroll.data.files import atomic_write

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""first characters of a cell that a spreadsheet evaluates (OWASP: CSV injection)"""


def write_records(records: Sequence[dict[str, Any]], folder: Path, split: str) -> Path:
    """Write one row per record to `folder/split.parquet`; values that are not plain become JSON text."""
    path = folder / f"{split}.parquet"
    pq.write_table(pa.Table.from_pylist([{key: _plain(value) for key, value in row.items()} for row in records]), path)
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records that `write_records` wrote."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same keys as comma-separated values, for spreadsheets.

    A text that a spreadsheet would take for a formula is prefixed with an apostrophe.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    atomic_write(path, table.getvalue().encode())


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)
