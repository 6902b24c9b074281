"""Tables of pairs: read by the names of their columns, every row checked, every complaint with file and row."""

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from apps.similarity.sources import ENTAILMENT, Pair
from core.errors import UserError

Row = tuple[str, dict[str, str]]
"""("FILE, row N", values by column); row 1 is the header, as in a spreadsheet"""


def read_rows(
    path: Path, columns: Sequence[str], *, delimiter: str = "", quoted: bool = True, header: bool = True
) -> Iterator[Row]:
    """The rows of a table, in any mixture of line ends, with or without a byte order mark.

    Args:
        path: UTF-8 text.
        columns: that must be there; without a header, the names of all columns from the left.
        delimiter: between columns; "": the first of tab, semicolon and comma that the first line holds.
        quoted: whether quotation marks enclose values, or are characters like others.
        header: whether the first line names the columns.

    Raises:
        UserError: the file cannot be read, is empty or no table, lacks a column (names those there), or a row is short.
    """
    lines = read_text(path)
    first = lines.partition("\n")[0]
    chosen = delimiter or next((mark for mark in "\t;" if mark in first), ",")
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    # newline="": the csv module itself knows all line ends, also inside quotation marks.
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=chosen, quoting=quoting, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])] if header else list(columns)
        _check_columns(path, names, columns)
        for number, values in enumerate(reader, start=1 + header):
            if any(value.strip() for value in values):
                where = f"{path}, row {number}"
                yield where, _named(where, names, values)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not a table ({error}); correct that line") from error


def read_text(path: Path) -> str:
    """The whole file. Raises UserError when it cannot be read, is not UTF-8, or is empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, byte {error.start:,}: is not UTF-8 text; convert it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not text.strip():
        raise UserError(f"{path}: is empty; give it a header and a row for each pair")
    return text


def sentence(where: str, text: str) -> str:
    """The text itself. Raises UserError when there is none."""
    if not text:
        raise UserError(f"{where}: one of its sentences is empty; write it, or remove the row")
    return text


def score(where: str, text: str, low: float, high: float, hint: str = "correct it") -> float:
    """The number in `text`. Raises UserError for none, NaN, or one outside `low` to `high`."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: its score {text!r} is no number; {hint}") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise UserError(f"{where}: its score {text} is not between {low:g} and {high:g}; {hint}")
    return value


def label(where: str, text: str) -> str:
    """An entailment label. Raises UserError for an unknown one."""
    name = text.strip().upper()
    if name and name not in ENTAILMENT:
        raise UserError(f"{where}: label {text!r}: write one of {', '.join(ENTAILMENT)}, or nothing")
    return name


def split_by_sentence(pairs: Sequence[Pair], share: float = 0.1) -> list[Pair]:
    """A tenth of the pairs each to val and test, so that no sentence is in two splits, whatever the pairs' order.

    Pairs that share a sentence stay together. The groups whose sentences have the smallest hashes are taken, except
    those too large for a tenth.
    """
    group = _groups(pairs)
    members: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        members.setdefault(group[pair.a], []).append(index)
    wanted = max(1, round(share * len(pairs)))
    ranked = sorted(members.values(), key=lambda rows: min(_hash(pairs[row].a) for row in rows))
    result = list(pairs)
    for split in ("test", "val"):
        room = wanted
        for rows in [rows for rows in ranked if result[rows[0]].split == "train"]:
            if len(rows) <= room:
                room -= len(rows)
                for row in rows:
                    result[row] = result[row]._replace(split=split)
    return result


def _groups(pairs: Sequence[Pair]) -> dict[str, str]:
    """Each sentence's representative: the same for all that are linked by pairs (union-find)."""
    parent: dict[str, str] = {}

    def root(sentence: str) -> str:
        parent.setdefault(sentence, sentence)
        while parent[sentence] != sentence:
            parent[sentence] = parent[parent[sentence]]
            sentence = parent[sentence]
        return sentence

    for pair in pairs:
        parent[root(pair.a)] = root(pair.b)
    return {sentence: root(sentence) for sentence in parent}


def _hash(sentence: str) -> bytes:
    return hashlib.sha256(sentence.encode()).digest()


def _check_columns(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UserError(f"{path}: has no column {' and no column '.join(missing)}; its columns: {', '.join(names)}")


def _named(where: str, names: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    if len(values) < len(names):
        raise UserError(f"{where}: has {len(values)} values for {len(names)} columns; correct that row")
    return {name: value.strip() for name, value in zip(names, values, strict=False)}
