"""The user's tables, as strings under named columns: CSV, TSV and JSON Lines, gzipped or not.

The dialect is detected from the file, and anything doubtful is an error that names the row: a value too many or too
few, a quotation mark that would swallow rows, a missing column. Each application names the columns that it needs, and
other names that it accepts for them (`Table.pick`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from unroll.data import quoting
from unroll.data import text as texts
from unroll.data.files import parse_json
from unroll.data.folders import entries
from unroll.errors import UserError, few

VERSION = 1
"""version of how a file is read: part of the specification of what is prepared from it"""
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
TAB_ENDINGS = (".tsv", ".tab")
ENDINGS = (".csv", *TAB_ENDINGS, *JSON_ENDINGS)
"""endings of files that are taken for tables in a folder"""
SHOWN = 20
"""most columns that a message names"""
EXACT = 1 << 53
"""below this, every whole number is exact in floating point"""
LONGEST_HEADER = 1 << 20
"""characters within which the first line must end"""
MARKS = {",": "a comma", ";": "a semicolon", "|": "a vertical bar"}
"""separators of columns in a file without tabs, and their names in messages"""
QUOTED = re.compile(r'"[^"]*"')
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""how JSON may write half of a character (a surrogate), which no file can hold"""
Known = Mapping[str, Sequence[str]]
"""our name of a column -> other names for it, the likeliest first (after ours, unless ours is among them)

Case, blanks, hyphens, dots and underscores do not matter."""


class Row(NamedTuple):
    """A row that is not empty."""

    number: int
    """as a spreadsheet or an editor counts: the header is row 1"""
    values: Sequence[Any]
    """one for each column; in JSON, None if missing, and values other than text as they are"""


@dataclass(frozen=True)
class Table:
    """The content of a file."""

    path: Path
    columns: tuple[str, ...]
    """as named in the file; nested ones in JSON like "translation.en" """
    rows: list[Row]
    """their lengths are checked against the columns in `pick`"""
    mark: str = ""
    """between two values; none in JSON"""
    header: bool = True
    """whether the file itself names the columns"""

    def where(self, row: Row) -> str:
        """The row's name in messages."""
        return f"{texts.called(self.path)}, row {row.number}"

    def pick(self, wanted: Known, also: Known | None = None, hint: str = "") -> Iterator[tuple[str, dict[str, str]]]:
        """("FILE, row N", values by our names, stripped) of every row.

        Args:
            wanted: columns that must be there.
            also: optional columns; missing ones are left out of the values.
            hint: for the error: what to do besides renaming a column.

        Raises:
            UserError: a wanted column is missing (lists the wanted and the existing columns) or ambiguous; there are no
                rows; a row has more or fewer values than there are columns (with both numbers), or a list as a value.
        """
        return self.at(self.find(wanted, hint) | self._found(also or {}, wanted=False))

    def at(self, places: Mapping[str, int]) -> Iterator[tuple[str, dict[str, str]]]:
        """The same for columns at known positions.

        Raises:
            UserError: there are no rows, or one does not fit the columns.
        """
        if not self.rows:
            raise no_rows(self.path)
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise wrong_count(self.path, row.number, len(row.values), len(self.columns), self.mark)
            where = self.where(row)
            yield where, {ours: _text(where, self.columns[at], row.values[at]).strip() for ours, at in places.items()}

    def place(self, ours: str, others: Sequence[str] = ()) -> int | None:
        """The position of an optional column; None if it is missing. Raises UserError for two of the same name."""
        return column_of(self.path, _names(ours, others), self.columns, wanted=False)

    def find(self, wanted: Known, hint: str = "") -> dict[str, int]:
        """Positions of the wanted columns. Raises UserError like `pick`."""
        found = self._found(wanted, wanted=True)
        missing = [ours for ours in wanted if ours not in found]
        if missing:
            raise UserError(missing_columns(self.path, {ours: wanted[ours] for ours in missing}, self.columns, hint))
        return found

    def _found(self, known: Known, *, wanted: bool) -> dict[str, int]:
        places = {
            ours: column_of(self.path, _names(ours, others), self.columns, wanted=wanted)
            for ours, others in known.items()
        }
        return {ours: place for ours, place in places.items() if place is not None}


def _names(ours: str, others: Sequence[str]) -> Sequence[str]:
    return others if ours in others else (ours, *others)


def column_of(path: Path, names: Sequence[str], columns: Sequence[str], *, wanted: bool = True) -> int | None:
    """The position of the first of the `names` that is among the `columns`; None if none is.

    Args:
        path: of the file, for messages.
        names: in order of preference.
        columns: as named in the file.
        wanted: whether the column is required. For an optional one, nested JSON columns that end in its name (`a.id`,
            `b.id`) are ignored if there are several.

    Raises:
        UserError: two columns match, which is ambiguous.
    """
    places = places_of(names, columns)
    alike = len({_plain(columns[place]) for place in places}) == 1
    if len(places) > 1 and (wanted or alike):
        raise _twice(path, [columns[place] for place in places], [place + 1 for place in places])
    return places[0] if len(places) == 1 else None


def places_of(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """The positions of the columns that match the first of the `names` with any match.

    An exact match takes precedence over one that ignores case and punctuation, and that over the last part of a nested
    JSON name.
    """
    alike = [_plain(column) for column in columns]
    last = [_plain(column.rpartition(".")[2]) for column in columns]
    inner: list[int] = []
    for name in names:
        for spelled, written in ((columns, name), (alike, _plain(name))):
            if places := [place for place, column in enumerate(spelled) if column == written]:
                return places
        places = [place for place, column in enumerate(last) if column == _plain(name)]
        if len(places) == 1:
            return places
        inner = inner or places
    return inner


def refuse_twice(path: Path, columns: Sequence[str]) -> None:
    """Raise UserError if two columns have the same name: for readers that use all columns."""
    for name in columns:
        if len(places := [place for place, column in enumerate(columns, start=1) if column == name]) > 1:
            raise _twice(path, [name] * len(places), places)


def _twice(path: Path, names: Sequence[str], places: Sequence[int]) -> UserError:
    numbers = f"{', '.join(map(str, places[:-1]))} and {places[-1]}"
    called = " and ".join(dict.fromkeys(names))
    return UserError(
        f"{texts.called(path)}: has {len(places)} columns called {called} (columns {numbers}); rename all but the one "
        "that is meant"
    )


def two_spellings(ids: Sequence[str]) -> tuple[str, str] | None:
    """An integer id that occurs both without and with a zero fraction, as ("1", "1.0"); None if there is none.

    Programs write a column's integers as "1.0" if it has missing values, others do not.
    """
    # A log may have millions of ids, few of them with a fraction: sorting all of them would take seconds.
    longer = {id.removesuffix(".0"): id for id in ids if id.endswith(".0")}
    return min(((bare, longer[bare]) for bare in ids if bare in longer), key=lambda both: both[1], default=None)


def missing_columns(path: Path, missing: Known, columns: Sequence[str], hint: str = "") -> str:
    """The message for missing columns: which are wanted, and which exist."""
    names = (" or ".join(_names(ours, others)) for ours, others in missing.items())
    wanted = " and no column ".join(names)
    return f"{texts.called(path)}: has no column {wanted}; its columns: {few(columns, SHOWN) or 'none'}" + (
        f"; {hint}" if hint else ""
    )


def no_rows(path: Path) -> UserError:
    """The error for a table that ends with its header."""
    return UserError(f"{texts.called(path)}: has no rows below its header")


def wrong_count(path: Path, row: int, values: int, columns: int, mark: str) -> UserError:
    """The error for a row that does not fit the columns."""
    hint = "correct it"
    if values > columns:
        named = MARKS.get(mark, mark)
        hint = f"is {named} part of a value? Put that value into quotation marks"
        hint = "is a tab part of a value? Write a blank there" if mark == "\t" else hint
    counts = f"{values:,} value{'' if values == 1 else 's'} for {columns:,} column{'' if columns == 1 else 's'}"
    return UserError(f"{texts.called(path)}, row {row} has {counts}; {hint}")


def read_table(
    path: Path,
    text: str | None = None,
    *,
    delimiter: str = "",
    quotes: bool | None = None,
    names: Sequence[str] = (),
    header: Callable[[Sequence[str]], bool] = lambda first: True,
) -> Table:
    """The table in a file, or in standard input (`texts.STANDARD_INPUT`).

    Args:
        path: CSV, TSV, JSON Lines (also one JSON list), gzip of them; see `texts.read_text` for the encoding.
        text: its content, if that has been read already.
        delimiter: between columns; "": a tab if the name ends in .tsv or the first line holds one, else the most
            frequent of MARKS in that line.
        quotes: whether quotation marks enclose values, or are ordinary characters; None: they enclose values in CSV,
            and in TSV if the whole file is written like that.
        names: of the columns, if there is no header.
        header: whether the first row, given its values, names the columns. Not used for JSON, which names them.

    Raises:
        UserError: the file cannot be read or is empty; a quotation mark is not closed or swallows rows; a line is not
            a JSON object.
    """
    text = texts.read_text(path) if text is None else text
    empty = UserError(f"{texts.called(path)}: is empty; give it a header and rows")
    if not text.strip():
        raise empty
    if is_json(path, text):
        return _from_objects(path, list(objects(path, text)))
    mark = delimiter or delimiter_of(path, text)
    split = enumerate(quoting.rows(texts.called(path), text, mark, quotes), start=1)
    rows = [Row(number, values) for number, values in split if any(map(str.strip, values))]
    if not rows:  # nothing but commas
        raise empty
    named = header(rows[0].values)
    columns = tuple(name.strip() for name in rows[0].values) if named else tuple(names)
    columns = columns or tuple(str(number) for number in range(1, len(rows[0].values) + 1))
    return Table(path, columns, rows[named:], mark, named)


def only_table(folder: Path) -> Path:
    """The only table in a folder. Raises UserError if there is none, or more than one."""
    found = [path for path in entries(folder) if path.is_file() and path.suffix.lower() in ENDINGS]
    if len(found) == 1:
        return found[0]
    named = f": {few([path.name for path in found])}" if found else ""
    kinds = "CSV, TSV or JSON Lines"
    raise UserError(f"{folder}: holds {len(found)} tables ({kinds}) instead of one{named}; set data.path to the file")


def is_json(path: Path, text: str) -> bool:
    """Whether a text is JSON, by the name of its file or, if that does not tell, by its first character."""
    return _ending(path) in JSON_ENDINGS or (_ending(path) not in (".csv", *TAB_ENDINGS) and text.lstrip()[0] in "{[")


def objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of JSON Lines; (position, object) of a JSON list.

    Raises:
        UserError: names the line that is not JSON, not an object, or an object with two values of the same name.
    """
    if not text.strip():
        raise UserError(f"{texts.called(path)}: is empty; write one JSON object on each line")
    if text.lstrip().startswith("["):
        values = list(enumerate(parse_json(path, text, once=True), start=1))
    else:
        lines = enumerate(texts.lines(text), start=1)
        values = [(number, parse_json(path, line, number, once=True)) for number, line in lines if line.strip()]
    halves = HALF.search(text)
    for number, value in values:
        if not isinstance(value, dict):
            hint = 'write one line {"name": value, ...} per record'
            raise UserError(f"{texts.called(path)}, record {number}: is not an object; {hint}")
        try:
            if halves:
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{texts.called(path)}, row {number}: holds half a character (\\ud800); correct it"
            ) from None
        yield number, value


def _from_objects(path: Path, rows: Sequence[tuple[int, dict[str, Any]]]) -> Table:
    flat = [(number, dict(_flat(row))) for number, row in rows]
    columns = tuple(dict.fromkeys(name for _, row in flat for name in row))
    return Table(path, columns, [Row(number, [row.get(name) for name in columns]) for number, row in flat])


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of an object and of the objects directly inside it."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", deeper) for inner, deeper in value.items())
        else:
            yield name, value


def _text(where: str, column: str, value: Any) -> str:
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        raise UserError(f"{where}: its {column} is {kind}, not one value; write a text or a number")
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as text: of whole numbers without a fraction, so that an id is the same in every kind of file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return str(int(value))
    return "" if value is None else str(value)


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).casefold()


def delimiter_of(path: Path, text: str) -> str:
    """The separator between columns; see `read_table`."""
    first = text.lstrip("\r\n")[:LONGEST_HEADER]
    first = texts.LINE_ENDS.split(first, 1)[0]
    if "\t" in first or _ending(path) in TAB_ENDINGS:
        return "\t"
    return max(MARKS, key=QUOTED.sub("", first).count)


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
