"""The user's own clicks: CSV (also gzipped) or Parquet, columns by name.

Needed are `session` or `user`, `item` and `time`; case, underscores and a final "id" do not matter, so `SessionId`,
`item_id` and `Timestamp` do as well. Times are numbers (seconds since 1970; milliseconds when above 1e11) or ISO dates.
"""

import codecs
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from apps.recommend.events import Log
from apps.recommend.sources import Source, Table
from apps.recommend.sources.features import encode
from core.data.files import MOST_RATIO, MOST_RATIO_FROM, gunzip, sha256
from core.errors import UserError

DELIMITERS = ",;\t"
MILLISECONDS = 1e11
"""a number above this is no time in seconds (it would be the year 5138)"""
CATEGORIES = pa.dictionary(pa.int32(), pa.string())
FIRST_ROW = 2
"""row 1 is the header, as in a spreadsheet"""


def source(path: Path | None, items: Path | None) -> Source:
    """The clicks in the file `path`, and what the table `items` says of the items.

    Raises:
        UserError: no such file, or missing columns.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; set it to a CSV or Parquet file of session,item,time")
    if items is not None and not items.is_file():
        raise UserError(f"data.items={items}: no such file")
    columns = _columns(path, names(path))
    protocol = "time" if "session" in columns else "leave-one-out"
    spec: dict[str, Any] = {"source": "csv", "log": sha256(path), "items": items and sha256(items)}
    return Source(spec, protocol, partial(_read, path, columns), items and partial(_table, items))


def names(path: Path) -> list[str]:
    """The columns of a file, as it names them."""
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        line = _header(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from None
    return [name.strip().strip('"') for name in line.split(_delimiter(line))]


def load(path: Path, columns: dict[str, str]) -> pa.Table:
    """The given columns (ours: the file's), ids as categories.

    Raises:
        UserError: names the file and the line that cannot be read.
    """
    try:
        _refuse_bombs(path)
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=list(columns.values())).rename_columns(list(columns))
        with _open(path) as file:
            table = pacsv.read_csv(
                file,
                parse_options=pacsv.ParseOptions(delimiter=_delimiter(_header(path))),
                read_options=pacsv.ReadOptions(column_names=names(path), skip_rows=1),
                convert_options=pacsv.ConvertOptions(
                    include_columns=list(columns.values()),
                    column_types={theirs: CATEGORIES for ours, theirs in columns.items() if ours != "time"},
                ),
            )
            for name, column in zip(table.column_names, table.columns, strict=True):
                if pa.types.is_binary(column.type):  # what Arrow makes of text that is not UTF-8
                    raise UserError(f"{path}: its column {name} is not UTF-8; convert the file")
            return table.rename_columns(list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from None


def histories(path: Path) -> list[dict[str, Any]]:
    """The sessions of a file, in its order, as inputs for `predict`; without a column time its rows are in order.

    Raises:
        UserError: missing columns, or a file that cannot be read.
    """
    found = names(path)
    columns = _columns(path, found, timed=False)
    table = load(path, columns)
    rows = table.select([name for name in columns if name != "time"]).to_pandas().astype(str)
    if "time" in columns:
        rows["time"] = _times(path, table["time"], columns["time"])
        rows = rows.sort_values("time", kind="stable")
    key = next(name for name in ("session", "user") if name in columns)
    grouped = rows.groupby(key, sort=False)["item"].apply(list).items()
    return [{"session": session, "history": items} for session, items in grouped]


def _read(path: Path, columns: dict[str, str]) -> Log:
    table = load(path, columns)
    if not len(table):
        raise UserError(f"{path}: has no rows below its header")
    key = next(name for name in ("session", "user") if name in columns)
    session, sessions = _codes(path, table[key], columns[key])
    item, items = _codes(path, table["item"], columns["item"])
    return Log(session, item, _times(path, table["time"], columns["time"]), sessions, items)


def _columns(path: Path, found: list[str], timed: bool = True) -> dict[str, str]:
    plain = {name.lower().replace("_", "").removesuffix("id"): name for name in reversed(found)}
    plain["time"] = plain.get("time", plain.get("timestamp", ""))
    key = "session" if "session" in plain or "user" not in plain else "user"
    needed = (key, "item", "time") if timed or plain["time"] else (key, "item")
    missing = [name for name in needed if not plain.get(name)]
    if missing:
        wanted = " and no column ".join("session (or user)" if name == "session" else name for name in missing)
        raise UserError(f"{path}: has no column {wanted}; it has: {', '.join(found) or 'none'}")
    return {name: plain[name] for name in needed}


def _codes(path: Path, column: pa.ChunkedArray, name: str) -> tuple[NDArray[np.int32], NDArray[np.str_]]:
    """Numbers of the ids of a column, and the ids, sorted."""
    text = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    encoded = text.unify_dictionaries().combine_chunks()
    ids = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(ids)
    place = np.empty(len(ids) + 1, dtype=np.int32)
    place[order], place[-1] = np.arange(len(ids)), -1
    empty = np.flatnonzero((codes < 0) | (np.append(ids == "", True)[codes]))
    if len(empty):
        raise UserError(f"{path}, row {empty[0] + FIRST_ROW}: its {name} is empty")
    return place[codes], ids[order]


def _times(path: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """Seconds since 1970."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        micro = column.cast(pa.timestamp("us")).cast(pa.int64())
        seconds = pc.divide(micro.cast(pa.float64()), 1e6).to_numpy()
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        seconds = _as_seconds(column.cast(pa.float64()).to_numpy())
    else:
        seconds = _from_text(column.cast(pa.string()).to_pandas())
    bad = np.flatnonzero(~np.isfinite(seconds))
    if len(bad):
        raise UserError(
            f"{path}, row {bad[0] + FIRST_ROW}: its {name} {column[int(bad[0])].as_py()!r} is no time; "
            "write seconds since 1970 or 2024-05-31 18:30:00"
        )
    return seconds


def _from_text(column: "pd.Series[Any]") -> NDArray[np.float64]:
    """Numbers and ISO dates may be mixed; NaN where a value is neither."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    since = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)
    return np.where(np.isnan(numbers), since, _as_seconds(numbers))


def _as_seconds(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(numbers) > MILLISECONDS, numbers / 1000, numbers)


def _table(path: Path) -> Table:
    """Items: columns item, title (or none), and any others, which are features."""
    found = names(path)
    if "item" not in found:
        raise UserError(f"{path}: has no column item; it has: {', '.join(found)}")
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pandas()
        else:
            text = {"item": str, "title": str}
            rows = pd.read_csv(path, sep=_delimiter(_header(path)), dtype=text, encoding="utf-8-sig")
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from None
    rows["item"] = rows["item"].astype(str)
    if (twice := rows["item"].duplicated()).any():
        raise UserError(f"{path}: item {rows['item'][twice].iloc[0]!r} occurs twice")
    columns = {
        name: rows[name].to_numpy(np.float64) if pd.api.types.is_numeric_dtype(rows[name]) else _texts(rows[name])
        for name in rows.columns.drop(["item", "title"], errors="ignore")
    }
    titles = rows["title"].fillna(rows["item"]).tolist() if "title" in rows else rows["item"].tolist()
    return Table(rows["item"].tolist(), titles, encode(columns) if columns else np.zeros((len(rows), 0), np.float32))


def _texts(column: "pd.Series[Any]") -> list[str]:
    return column.fillna("").astype(str).tolist()


def _refuse_bombs(path: Path) -> None:
    """A small file that would fill the memory."""
    size = path.stat().st_size
    if path.suffix == ".parquet" and (rows := pq.read_metadata(path).num_rows) > max(
        MOST_RATIO * size, MOST_RATIO_FROM
    ):
        raise UserError(f"{path}: claims {rows:,} rows in {size:,} bytes, as no honest file does")
    if path.suffix == ".gz":
        with path.open("rb") as file:
            for _ in gunzip(path, file, size):
                pass


def _open(path: Path) -> Any:
    return pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None)


def _header(path: Path) -> str:
    with _open(path) as file:
        first = file.read(65_536).removeprefix(codecs.BOM_UTF8).partition(b"\n")[0]
    if b"\0" in first:
        raise UserError(f"{path}: holds a NUL character, as no text does; save it as UTF-8")
    try:
        return str(first, "utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, byte {error.start}: is not UTF-8; convert the file") from None


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=header.count)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
