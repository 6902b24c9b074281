"""The user's own pairs: a CSV (or tab-separated) file whose columns are named in the configuration."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from apps.similarity.sources import SPLITS, Pair, Source, table
from core.data.files import sha256
from core.errors import UserError


def source(path: Path | None, columns: tuple[str, str, str], low: float, high: float) -> Source:
    """The pairs in the file at `path`.

    Args:
        path: UTF-8, with a header; comma, semicolon or tab between columns. Columns that may be there as well:
            `split` (train, val, test), `label` (see ENTAILMENT) and `id`.
        columns: names of the columns of the two sentences and of their score.
        low: smallest possible score.
        high: largest possible score.

    Raises:
        UserError: no path, or no such file. The rest is found as the pairs are read.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; data.source=csv needs --set data.path=FILE, a table of pairs")
    spec = {"source": "csv", "sha256": sha256(path), "columns": list(columns), "low": low, "high": high}
    spec["split"] = "by its column split, else by hash of the sentence"
    return Source(spec, low, high, partial(_read, path, columns, low, high))


def _read(path: Path, columns: tuple[str, str, str], low: float, high: float) -> Iterator[Pair]:
    rows = list(table.read_rows(path, columns))
    pairs = [_pair(where, row, columns, low, high) for where, row in rows]
    has_splits = bool(rows) and "split" in rows[0][1]
    yield from pairs if has_splits else table.split_by_sentence(pairs)


def _pair(where: str, row: dict[str, str], columns: tuple[str, str, str], low: float, high: float) -> Pair:
    a, b, score = (row[column] for column in columns)
    split = row.get("split") or "train"
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r}: write one of {', '.join(SPLITS)}")
    number = where.rpartition(" ")[2]
    return Pair(
        row.get("id") or f"row {number}",
        table.sentence(where, a),
        table.sentence(where, b),
        table.score(where, score, low, high, "correct it, or set data.low and data.high"),
        split,
        table.label(where, row.get("label", "")),
    )
