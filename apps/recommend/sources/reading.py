"""Tables of millions of rows: the rules and messages of `unroll.data.tables`, at the speed of Arrow.

Arrow reads plain tables; anything ambiguous (quotation marks between tabs or over several lines, JSON) is left to
`unroll.data.tables`, and so is anything that Arrow rejects, so that the error names the row.
"""

import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from unroll.data import quoting, tables
from unroll.data import text as texts
from unroll.data.files import MOST_RATIO, MOST_RATIO_FROM
from unroll.errors import UserError

CATEGORIES = pa.dictionary(pa.int32(), pa.string())
HEAD = 1 << 20
"""bytes in which the header must end"""
PIECE = 16 << 20
Places = Mapping[str, int]
"""our name of a column -> its index in the file"""


class Loaded(NamedTuple):
    """Some columns of a file."""

    table: pa.Table
    """under our names; ids as text or categories"""
    file: "File"
    places: Places

    def called(self, ours: str) -> str:
        """The name of a column in the file."""
        return self.file.columns[self.places[ours]]

    def where(self, index: int) -> str:
        """The name of a row in messages, by its index."""
        return f"{texts.called(self.file.path)}, row {self.file.number(index)}"


class File(Protocol):
    """A file of clicks or of items: text, compressed or not, Parquet, or standard input.

    Every method raises UserError: for a file that cannot be read, and for a row that does not fit the columns.
    """

    path: Path

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names in the file."""
        ...

    def load(self, places: Places) -> Loaded:
        """The columns at these places; the type of `time` is inferred, the others are text."""
        ...

    def number(self, index: int) -> int:
        """The number of a row as a spreadsheet shows it."""
        ...


def opened(path: Path) -> File:
    """The reader for a file, by its name and its first bytes. Raises UserError when it cannot be read."""
    return _Parquet(path) if path.suffix == ".parquet" else _Text(path)


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def columns(self) -> tuple[str, ...]:
        try:
            return tuple(pq.read_schema(self.path).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(self.path, error) from None

    def load(self, places: Places) -> Loaded:
        size = self.path.stat().st_size
        try:
            if (rows := pq.read_metadata(self.path).num_rows) > max(MOST_RATIO * size, MOST_RATIO_FROM):
                raise UserError(f"{self.path}: claims {rows:,} rows in {size:,} bytes, which cannot be true")
            table = pq.read_table(self.path, columns=[self.columns[place] for place in places.values()])
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(self.path, error) from None
        return Loaded(pa.table(dict(zip(places, table.columns, strict=True))), self, places)

    def number(self, index: int) -> int:
        return index + 1


class _Text:
    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _content(self) -> bytes | None:
        """The text, if it cannot be read from the disk directly: compressed, in another encoding, or piped."""
        on_disk = self.path != texts.STANDARD_INPUT and self.path.is_file()
        if on_disk and not self._first(4).startswith(
            (texts.GZIP, *(mark for mark, name in texts.MARKS if "8" not in name))
        ):
            return None
        content = texts.read_bytes(self.path)
        return content if content[:1].isascii() else texts.decode(self.path, content).encode()

    def _first(self, size: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(size)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _open(self) -> BinaryIO:
        return self.path.open("rb") if self._content is None else io.BytesIO(self._content)

    @cached_property
    def _head(self) -> tuple[str, int, list[str]]:
        """(delimiter, number of lines up to and including the header, names); the delimiter is empty for JSON."""
        with self._open() as file:
            start = file.read(HEAD)
        cut = max(start.rfind(b"\n"), start.rfind(b"\r")) + 1 if len(start) == HEAD else len(start)
        text = texts.decode(self.path, start[: cut or HEAD])
        if not text.strip():
            raise UserError(f"{texts.called(self.path)}: is empty; give it a header and rows")
        if tables.is_json(self.path, text):
            return "", 0, list(self._slow.columns)
        lines = texts.LINE_ENDS.split(text)
        skipped = next(number for number, line in enumerate(lines) if line.strip())
        mark = tables.delimiter_of(self.path, text)
        names = quoting.rows(texts.called(self.path), lines[skipped], mark)[0]
        return mark, skipped + 1, [name.strip() for name in names]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._head[2])

    @cached_property
    def _slow(self) -> tables.Table:
        return tables.read_table(self.path, texts.decode(self.path, self._bytes()))

    def _bytes(self) -> bytes:
        with self._open() as file:
            return file.read()

    @cached_property
    def _doubtful(self) -> bool:
        return not self._head[0] or (self._quoted and self._head[0] == "\t")

    @cached_property
    def _quoted(self) -> bool:
        """Whether there is a quotation mark. Raises UserError for a NUL character."""
        quoted = False
        with self._open() as file:
            while piece := file.read(PIECE):
                quoted = quoted or b'"' in piece
                if b"\0" in piece:
                    texts.decode(self.path, self._bytes())
        return quoted

    def load(self, places: Places) -> Loaded:
        if not self._doubtful:
            table = self._fast(places)
            # If quotation marks join lines, there are fewer rows than lines.
            if table is not None and (not self._quoted or len(table) == sum(1 for _ in self._lines()) - 1):
                return Loaded(table, self, places)
            self._doubtful = True
        columns: dict[str, list[str]] = {ours: [] for ours in places}
        for _, row in self._slow.at(places):
            for ours, value in row.items():
                columns[ours].append(value)
        return Loaded(pa.table({ours: pa.array(values, pa.string()) for ours, values in columns.items()}), self, places)

    def _fast(self, places: Places) -> pa.Table | None:
        """The table as Arrow reads it; None if it does not, for an unknown reason."""
        mark, skipped, names = self._head
        options = {
            "include_columns": list(map(str, places.values())),
            "column_types": {str(place): CATEGORIES for ours, place in places.items() if ours != "time"},
            "null_values": [""],
        }
        try:
            with self._open() as file:
                table = pacsv.read_csv(
                    file,
                    parse_options=pacsv.ParseOptions(delimiter=mark, quote_char='"' if self._quoted else False),
                    read_options=pacsv.ReadOptions(column_names=list(map(str, range(len(names)))), skip_rows=skipped),
                    convert_options=pacsv.ConvertOptions(**options),
                )
        except (OSError, pa.ArrowInvalid):
            if not self._quoted:
                self._refuse_widths()
            return None
        if any(pa.types.is_binary(column.type) for column in table.columns):  # Arrow does so for other encodings
            return None
        return table.rename_columns(list(places))

    def _refuse_widths(self) -> None:
        """Raise UserError for the first row with more or fewer values than there are columns."""
        mark, _, names = self._head
        for number, values in self._lines():
            if len(values) != len(names):
                raise tables.wrong_count(self.path, number, len(values), len(names), mark)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(row number, values) of the lines that are not empty, the header first."""
        mark = self._head[0]
        with io.TextIOWrapper(self._open(), "utf-8-sig", errors="replace", newline=None) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\n").split(mark)

    def number(self, index: int) -> int:
        if self._doubtful:
            return self._slow.rows[index].number
        return next(number for at, (number, _) in enumerate(self._lines()) if at == index + 1)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})")
