"""The user's clicks, and a table of items: CSV, TSV or JSON Lines, compressed or not, or Parquet.

The columns `session` or `user`, `item` and `time` are required, under these or other common names (those of MovieLens
and of shops), or under names in the configuration. Times: see `times`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unroll.data import tables
from unroll.data.files import sha256
from unroll.errors import UserError

from ..events import Log, Protocol
from . import Source, Table, reading, times
from .features import encode

SESSION = ("session_id", "user_session", "visit", "visit_id")
USER = ("user_id", "customer", "customer_id", "visitor", "visitor_id", "member_id", "reviewer_id", "client_id")
ITEM = (
    "item_id", "product", "product_id", "movie", "movie_id", "article", "article_id", "track", "track_id", "song",
    "song_id", "video", "video_id", "book", "book_id", "content_id", "asin", "parent_asin", "isbn", "sku",
)  # fmt: skip
TIME = ("timestamp", "event_time", "datetime", "date_time", "date", "ts", "created_at", "unix_review_time")
TITLE = ("name", "item_name", "product_name", "movie_title")
HINT = "name yours, data.columns.item=NAME"
MISSING = frozenset(("", "NA", "N/A", "null", "None", "nan", "NaN"))
"""missing numbers"""
Named = Mapping[str, str]
"""session, user, item, time, title -> its name in the file; "": one of the common names"""


def source(path: Path | None, items: Path | None, named: Named | None = None) -> Source:
    """The clicks in the file `path`, and the table `items`.

    Raises:
        UserError: no such file, or missing columns.
    """
    if path is None or not path.is_file():
        raise UserError(f"data.path={path}: no such file; set it to a table (CSV, Parquet) of session,item,time")
    if items is not None and not items.is_file():
        raise UserError(f"data.items={items}: no such file")
    named = dict(named or {})
    file = reading.opened(path)
    places = _places(file, named)
    protocol: Protocol = "time" if "session" in places else "leave-one-out"
    spec: dict[str, Any] = {"source": "csv", "log": sha256(path), "items": items and sha256(items)}
    spec["reader"] = tables.VERSION
    spec["columns"] = {ours: file.columns[place] for ours, place in places.items()}
    described = partial(_table, items, named) if items else None
    return Source(spec, partial(_read, file, places), protocol=protocol, table=described)


def histories(path: Path) -> list[dict[str, Any]]:
    """The sessions of a file, in its order, as inputs for `predict`; without a time column, rows are in order.

    Raises:
        UserError: missing columns, an empty id, an invalid time, or a file that cannot be read.
    """
    file = reading.opened(path)
    places = _places(file, {}, timed=False)
    loaded = file.load(places)
    key = next(iter(places))
    columns = {}
    for ours in (key, "item"):
        codes, names = _codes(loaded, ours)
        columns[ours] = names[codes]
    rows = pd.DataFrame(columns)
    if "time" in places:
        found = times.read(loaded.table["time"])
        times.refuse_others(found, loaded)
        rows = rows.iloc[np.argsort(found.seconds, kind="stable")]
    grouped = rows.groupby(key, sort=False)["item"].apply(list).items()
    return [{"session": session, "history": items} for session, items in grouped]


def _read(file: reading.File, places: Mapping[str, int]) -> Log:
    loaded = file.load(places)
    if not len(loaded.table):
        raise tables.no_rows(file.path)
    session, sessions = _codes(loaded, next(iter(places)))
    item, items = _codes(loaded, "item")
    found = times.read(loaded.table["time"])
    times.refuse_others(found, loaded)
    times.refuse_axis(found, loaded)
    notes = tuple(_notes(found))
    return Log(session, item, found.seconds, sessions, items, notes=notes, users=_users(loaded, session))


def _users(loaded: reading.Loaded, session: NDArray[np.int32]) -> NDArray[np.str_] | None:
    """The user of each session, by its first row; None: sessions are users, or the log has no users."""
    if "session" not in loaded.table.column_names or "user" not in loaded.table.column_names:
        return None
    _, rows = np.unique(session, return_index=True)
    users = loaded.table["user"].take(pa.array(rows)).cast(pa.string()).to_pylist()
    return np.array([(user or "").strip() for user in users], dtype=np.str_)


def _notes(found: times.Times) -> list[str]:
    ends = [float(found.seconds.min()), float(found.seconds.max())]
    if found.unit in ("", "seconds since 1970") and ends[-1] >= times.EARLIEST:
        return []
    first, last = map(times.shown, ends)
    return [f"its times are read as {found.unit or 'dates'}: {first} to {last}"]


def _places(file: reading.File, named: Named, timed: bool = True) -> dict[str, int]:
    """Where the columns are: session or user, item, and time, which is optional unless `timed`."""
    usual = {"session": SESSION, "user": USER, "item": ITEM, "time": TIME}
    known = {ours: (named[ours],) if named.get(ours) else (ours, *others) for ours, others in usual.items()}
    found = {
        ours: tables.column_of(file.path, names, file.columns, wanted=ours == "item") for ours, names in known.items()
    }
    by_user = bool(named.get("user")) and not named.get("session")
    key = "user" if by_user or (found["session"] is None and found["user"] is not None) else "session"
    time = ("time",) if timed or found["time"] is not None or named.get("time") else ()
    user = ("user",) if key == "session" and (found["user"] is not None or named.get("user")) else ()
    needed = (key, "item", *time, *user)
    if missing := [ours for ours in needed if found[ours] is None]:
        looked_for = {ours: known[ours] for ours in missing}
        if key in missing and not any(named.get(ours) for ours in ("session", "user")):
            looked_for[key] = (*known["session"], *known["user"])
        wanted = {names[0]: names for names in looked_for.values()}
        raise UserError(tables.missing_columns(file.path, wanted, file.columns, HINT))
    return {ours: place for ours in needed if (place := found[ours]) is not None}


def _codes(loaded: reading.Loaded, ours: str) -> tuple[NDArray[np.int32], NDArray[np.str_]]:
    """Numbers of the ids of a column, and the ids: sorted, and stripped of surrounding blanks."""
    column = loaded.table[ours]
    text = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    encoded = text.unify_dictionaries().combine_chunks()
    if not (bare := pc.utf8_trim_whitespace(encoded.dictionary)).equals(encoded.dictionary):
        encoded = bare.take(encoded.indices).dictionary_encode()
    ids = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(ids)
    place = np.empty(len(ids) + 1, dtype=np.int32)
    place[order], place[-1] = np.arange(len(ids)), -1
    empty = np.flatnonzero((codes < 0) | (np.append(ids == "", True)[codes]))
    if len(empty):
        raise UserError(f"{loaded.where(int(empty[0]))}: its {loaded.called(ours)} is empty")
    codes, ids = place[codes], ids[order]
    _refuse_spellings(loaded, ours, codes, ids)
    return codes, ids


def _refuse_spellings(loaded: reading.Loaded, ours: str, codes: NDArray[np.int32], ids: NDArray[np.str_]) -> None:
    """Raise UserError for an id that some rows write as 1 and others as 1.0: it would be two."""
    if both := tables.two_spellings(ids.tolist()):
        rows = [int(np.flatnonzero(codes == np.searchsorted(ids, id))[0]) for id in both]
        here, there = sorted(zip(rows, both, strict=True))
        raise UserError(
            f"{loaded.where(there[0])}: its {loaded.called(ours)} is {there[1]}, and that of row "
            f"{loaded.file.number(here[0])} is {here[1]}; is it the same? Write it in one way"
        )


def _table(path: Path, named: Named) -> Table:
    """The items: columns item, title (optional), and any others, which are features."""
    columns = _columns_of_items(path)
    usual = {"item": ("item", *ITEM), "title": ("title", *TITLE)}
    known = {ours: (named[ours],) if named.get(ours) else names for ours, names in usual.items()}
    places = {ours: tables.column_of(path, names, tuple(columns)) for ours, names in known.items()}
    if places["item"] is None:
        raise UserError(tables.missing_columns(path, {known["item"][0]: known["item"]}, tuple(columns), HINT))
    values = list(columns.values())
    items = [tables.text_of(item).strip() for item in values[places["item"]]]
    if twice := pd.Series(items)[pd.Series(items).duplicated()].tolist():
        raise UserError(f"{path}: item {twice[0]!r} occurs twice")
    titles = items if places["title"] is None else [tables.text_of(title).strip() for title in values[places["title"]]]
    features = {n: _feature(v) for p, (n, v) in enumerate(columns.items()) if p not in places.values()}
    encoded = encode(features) if features else np.zeros((len(items), 0), np.float32)
    return Table(items, [title or item for title, item in zip(titles, items, strict=True)], encoded)


def _columns_of_items(path: Path) -> dict[str, Sequence[Any]]:
    """Every column by name, in the order of the file; missing values are empty."""
    if path.suffix == ".parquet":
        file = reading.opened(path)
        tables.refuse_twice(path, file.columns)
        loaded = file.load({name: place for place, name in enumerate(file.columns)}).table
        return {name: ["" if v is None else v for v in loaded[name].to_pylist()] for name in file.columns}
    content = tables.read_table(path)
    names = [name or f"column {place + 1}" for place, name in enumerate(content.columns)]
    tables.refuse_twice(path, names)
    rows = [list(row.values()) for _, row in content.at({name: place for place, name in enumerate(names)})]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _feature(values: Sequence[Any]) -> NDArray[np.float64] | list[str]:
    """Numbers, with NaN for missing ones, if all values are numbers; otherwise text."""
    written = pd.Series([str(value).strip() for value in values], dtype=object)
    there = ~written.isin(MISSING)
    numbers: NDArray[np.float64] = pd.to_numeric(written.where(there), errors="coerce").to_numpy(np.float64)
    if there.any() and np.isfinite(numbers[there]).all():
        return numbers
    words: list[str] = written.tolist()
    return words
