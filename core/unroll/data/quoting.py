"""Splits a text into rows of values, and decides when a quotation mark encloses a value.

In CSV they enclose values that hold a delimiter, a line end or a quotation mark, which is then doubled (RFC 4180).
In TSV most programs write them as ordinary characters. Read the wrong way, one unmatched quotation mark joins all rows
up to the next one without any visible error, so a reading that joins rows is accepted only with evidence.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from unroll.data.text import LINE_ENDS
from unroll.errors import UserError

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
Quoted = Callable[[str, str], bool]
"""(value, delimiter) -> whether a program would quote it"""


def _every_value(value: str, mark: str) -> bool:
    return True


def _every_text(value: str, mark: str) -> bool:
    return bool(value) and not NUMBER.fullmatch(value)


def _minimal(value: str, mark: str) -> bool:
    return any(letter in value for letter in (mark, '"', "\n", "\r"))


class Record(NamedTuple):
    """A CSV row, and the lines that it spans."""

    values: list[str]
    lines: list[str]


def rows(name: str, text: str, mark: str, quotes: bool | None = None) -> list[list[str]]:
    """The values of every row, including empty lines.

    Args:
        name: of the file, for messages.
        text: with line ends of any kind.
        mark: the delimiter between values.
        quotes: whether quotation marks enclose values; None: they do in CSV, and in TSV if the whole text is written
            like that.

    Raises:
        UserError: a quotation mark that never closes, or one that joins what look like separate rows.
    """
    lines = LINE_ENDS.split(text)
    plain = [line.split(mark) for line in (lines[:-1] if lines[-1] == "" else lines)]
    if quotes is False or '"' not in text:
        return plain
    if quotes is None and mark == "\t" and not _consistent(name, text, plain):
        return plain
    records = parsed(name, text, mark)
    if quotes is None:
        _refuse_swallowed(name, records, mark)
    return [record.values for record in records]


def parsed(name: str, text: str, mark: str) -> list[Record]:
    """The rows as the csv module reads them; it handles all line ends, also inside quotation marks.

    Raises:
        UserError: names the row with a quotation mark that never closes, or that closes inside a value.
    """
    lines, found, begin = LINE_ENDS.split(text), list[Record](), 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for values in reader:
            found.append(Record(values, lines[begin : reader.line_num]))
            begin = reader.line_num
    except csv.Error as error:
        how = "closes inside a value" if "expected after" in str(error) else "does not close"
        said = f"a quotation mark opens here and {how}; close it, or double it inside a value"
        raise UserError(f"{name}, row {len(found) + 1}: {said}") from None
    return found


def _consistent(name: str, text: str, plain: Sequence[Sequence[str]]) -> bool:
    """Whether a tab-separated text is quoted like CSV throughout."""
    try:
        records = parsed(name, text, "\t")
    except UserError:
        return False
    if len(_widths(record.values for record in records)) > 1:
        return False
    if _beyond_doubt(records, "\t"):
        return True
    joins_rows = len(_widths(plain)) == 1 and any(len(record.lines) > 1 for record in records)
    return not joins_rows and _written(records, "\t", _minimal)


def _refuse_swallowed(name: str, records: Sequence[Record], mark: str) -> None:
    """Raise UserError for a row each of whose lines would be a row by itself.

    A text of several lines may look like that by chance. It is accepted if every value, or every text, is quoted; if a
    column of numbers shows that its lines are not rows; and, without numbers, if most texts of several lines look
    different, or if other rows are quoted correctly and it has only two lines.
    """
    several = [number for number, record in enumerate(records) if len(record.lines) > 1]
    if not several or _beyond_doubt(records, mark):
        return
    width = len(records[0].values)
    alone = [record.values for record in records[1:] if len(record.lines) == 1 and len(record.values) == width]
    numbers = [at for at, values in enumerate(zip(*alone, strict=True)) if all(map(NUMBER.fullmatch, values))]
    joined = [number for number in several if _are_rows(records[number].lines, mark, width, numbers)]
    if not numbers and _quoted_in_a_line(records[1:]):  # then two lines that look like two rows are no evidence
        joined = [number for number in joined if len(records[number].lines) > 2]
    if joined and (numbers or 2 * len(joined) >= len(several)):
        raise UserError(
            f"{name}, row {joined[0] + 1}: a quotation mark opens here and closes {len(records[joined[0]].lines) - 1} "
            "lines later, and each of these lines looks like a row; double a mark that is part of the text and quote "
            "that value, or quote every value"
        )


def _are_rows(lines: Sequence[str], mark: str, width: int, numbers: Sequence[int]) -> bool:
    """Whether each of the lines would be a row, with quotation marks either as characters or enclosing values."""
    readings = ((line.split(mark), *csv.reader([line], delimiter=mark)) for line in lines)
    return all(any(_is_row(values, width, numbers) for values in either) for either in readings)


def _is_row(values: Sequence[str], width: int, numbers: Sequence[int]) -> bool:
    return len(values) == width and all(NUMBER.fullmatch(values[at].strip('" ')) for at in numbers)


def _beyond_doubt(records: Sequence[Record], mark: str) -> bool:
    """Whether every value is quoted, or every text; in a table of numbers, a single text is not enough evidence."""
    if _written(records, mark, _every_value):
        return True
    return _quoted_in_a_line(records[1:]) and _written(records, mark, _every_text)


def _quoted_in_a_line(records: Sequence[Record]) -> bool:
    return any('"' in record.lines[0] for record in records if len(record.lines) == 1)


def _widths(rows: Iterable[Sequence[str]]) -> set[int]:
    return {len(values) for values in rows if any(value.strip() for value in values)}


def _written(records: Sequence[Record], mark: str, quoted: Quoted) -> bool:
    """Whether the rows were written by a program that quotes in this way; the header may be unquoted."""
    return all(_line(record.values, mark, quoted) == "\n".join(record.lines) for record in records[1:] if record.values)


def _line(values: Sequence[str], mark: str, quoted: Quoted) -> str:
    if values == [""]:  # without quotes it would be an empty line
        return '""'
    parts = ('"' + value.replace('"', '""') + '"' if quoted(value, mark) else value for value in values)
    return LINE_ENDS.sub("\n", mark.join(parts))
