"""The user's own tables: every format gives the same rows, and anything doubtful one line."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.data.tables import Table, column_of, only_table, places_of, read_table, refuse_twice, text_of, two_spellings
from unroll.errors import UserError

KNOWN = {"path": ("file",), "text": ("transcript", "sentence")}
WANTED = [{"path": "a.wav", "text": "one, two"}, {"path": "b.wav", "text": "NA"}]
CSV = 'path,text\na.wav,"one, two"\nb.wav,NA\n'
TSV = "path\ttext\na.wav\tone, two\nb.wav\tNA\n"
JSONL = "".join(f"{json.dumps(row)}\n" for row in WANTED)


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picked(path: Path) -> list[dict[str, str]]:
    return [row for _, row in read_table(path).pick(KNOWN)]


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as error:
        list(read_table(path).pick(KNOWN, {"split": ()}, "rename it"))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", CSV),
        ("t.csv", CSV.replace("\n", "\r\n")),
        ("t.csv", CSV.replace("\n", "\r")),
        ("t.csv", CSV.encode("utf-8-sig")),
        ("t.csv", CSV.replace("path,text", " Path , TEXT ").replace("\nb", "\n,\n\nb")),
        ("t.txt", CSV.replace(",", ";").replace("one;", "one,")),
        ("t.csv", CSV.replace(",", ";").replace("one;", "one,")),
        ("t.csv", CSV.replace(",", "|").replace("one|", "one,")),
        ("t.csv", CSV.replace(",", " | ").replace('"one |  two"', "one, two")),
        ("t.csv", CSV.replace("path,text", '"path";"a, b, c, d"; text').replace("wav,", "wav;;")),
        ("t.tsv", TSV),
        ("t.txt", TSV.encode("utf-16")),
        ("t.csv", CSV.replace("path", "file").replace("text", "Sentence")),
        ("t.jsonl", JSONL),
        ("t.jsonl", JSONL.replace("\n", "\n\n")),
        ("t.data", JSONL),
        ("t.json", json.dumps(WANTED, indent=1)),
        ("t.jsonl", "".join(f"{json.dumps({'audio': row})}\n" for row in WANTED)),
        ("t.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("t.jsonl.gz", gzip.compress(JSONL.encode(), mtime=0)),
    ],
)
def test_one_table_in_every_clothing(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert picked(write(tmp_path, content, name)) == WANTED


def test_rows_are_numbered_as_a_spreadsheet_numbers_them(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'path,text\na,"x\ny"\n\nb,z\n'))
    assert [row.number for row in table.rows] == [2, 4]
    assert [where for where, _ in table.pick(KNOWN)] == [f"{tmp_path / 't.csv'}, row {n}" for n in (2, 4)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "path,text\na,b, c\n", "t.csv, row 2 has 3 values for 2 columns; is a comma part of a value?"),
        ("t.tsv", "path\ttext\na\tb\n\nc\n", "t.tsv, row 4 has 1 value for 2 columns; correct it"),
        ("t.csv", "file,b\na,b\n", "has no column text or transcript or sentence; its columns: file, b; rename"),
        ("t.csv", "a,b\n", "has no column path or file and no column text or transcript or sentence; its"),
        ("t.csv", "text,path,text\na,b,c\n", "t.csv: has 2 columns called text (columns 1 and 3); rename all but the"),
        ("t.csv", "Text,path,TEXT\na,b,c\n", "t.csv: has 2 columns called Text and TEXT (columns 1 and 3); rename"),
        ("t.csv", "file,file,file,text\na,b,c,d\n", "t.csv: has 3 columns called file (columns 1, 2 and 3)"),
        ("t.csv", "path,text,split,split\na,b,test,train\n", "t.csv: has 2 columns called split (columns 3 and 4)"),
        ("t.csv", "path|text\na|b|c\n", "row 2 has 3 values for 2 columns; is a vertical bar part of a value?"),
        ("t.csv", " \n", "t.csv: is empty; give it a header and rows"),
        ("t.csv", ",\n,\n", "t.csv: is empty; give it a header and rows"),
        ("t.jsonl", '{"path": "a"}\n', "has no column text or transcript or sentence; its columns: path"),
        ("t.jsonl", '{"path": "a", "text": "b"}\n["c"]\n', "record 2: is not an object"),
        ("t.jsonl", '{"a": {"text": "b"}, "c": {"text": "d"}, "path": "e"}', "has 2 columns called a.text and c.text"),
        ("t.jsonl", '{"path": "a"}\n{"text": "b", "text": "c"}\n', "t.jsonl, line 2: cannot be read as JSON (two"),
        ("t.json", '[{"path": "a", "text": "b", "path": "c"}]', "(two values are called 'path')"),
        ("t.jsonl", '{"path": "a", "text": "b"}\n{"path": \n', "t.jsonl, line 2, column 10: is not JSON"),
        ("t.jsonl", '{"path": "a", "text": ["b"]}\n', "row 1: its text is a list, not one value"),
        ("t.jsonl", '{"path": "a", "text": "\\ud800"}\n', r"row 1: holds half a character (\ud800)"),
        ("t.json", '{"path": "a", "text": NaN}', "line 1: cannot be read as JSON (NaN is not a JSON value)"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    assert message in complaint(write(tmp_path, content, name))


def test_a_message_does_not_list_hundreds_of_columns(tmp_path: Path) -> None:
    assert len(complaint(write(tmp_path, ",".join(f"column {n}" for n in range(500))))) < 500


def test_values_of_json_as_text(tmp_path: Path) -> None:
    text = '{"id": 7, "score": 3.5, "same": true, "note": null}\n{"id": 12345678901234567890}\n'
    known: dict[str, tuple[str, ...]] = {"id": (), "score": (), "same": (), "note": ()}
    rows = [row for _, row in read_table(write(tmp_path, text, "t.jsonl")).pick(known)]
    assert rows[0] == {"id": "7", "score": "3.5", "same": "true", "note": ""}
    assert [text_of(value) for value in (7.0, -2.0, 2.0**53, 1e300)] == ["7", "-2", "9007199254740992.0", "1e+300"]
    assert rows[1] == {"id": "12345678901234567890", "score": "", "same": "", "note": ""}


def test_columns_by_other_names_the_likeliest_first() -> None:
    path = Path("t")
    assert column_of(path, ("item", "movie_id"), ("userId", "movieId")) == 1
    assert column_of(path, ("en",), ("translation.en", "translation.fr")) == 0
    assert column_of(path, ("text",), ("Text", "text")) == 1
    assert column_of(path, ("text",), ("a", "b")) is None
    assert places_of(("text", "words"), ("a.text", "b.text", "words")) == [2]
    assert places_of(("text",), ("Text", "b", "TEXT")) == [0, 2]
    assert Table(path, ("source", "fr"), []).place("source", ("fr", "source")) == 1


def test_a_column_that_nobody_needs_may_be_there_twice_inside_objects_only() -> None:
    assert column_of(Path("t"), ("id",), ("audio.id", "text.id"), wanted=False) is None
    assert Table(Path("t"), ("a", "", ""), []).place("a") == 0  # as spreadsheets leave empty columns
    with pytest.raises(UserError, match=r"^t: has 2 columns called id \(columns 1 and 2\)"):
        column_of(Path("t"), ("id",), ("id", "id"), wanted=False)
    with pytest.raises(UserError, match=r"^t: has 2 columns called b \(columns 2 and 3\)"):
        refuse_twice(Path("t"), ("a", "b", "b"))
    refuse_twice(Path("t"), ("a", "A"))


def test_an_id_with_and_without_a_fraction_of_zero() -> None:
    assert two_spellings(["2", "1", "1.0", "x.0", "07"]) == ("1", "1.0")
    assert two_spellings(["1.0", "2.0", "3", "7", "07", "1.00"]) is None


def test_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "a\tb\nc\td\n", "t.tsv")
    table = read_table(path, names=("path", "text"), header=lambda first: "path" in first)
    assert not table.header and next(table.pick(KNOWN))[1] == {"path": "a", "text": "b"}
    assert read_table(write(tmp_path, TSV), names=("path", "text"), header=lambda first: "path" in first).header


def test_the_only_table_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").touch()
    with pytest.raises(UserError, match="holds 0 tables"):
        only_table(tmp_path)
    path = write(tmp_path, TSV, "metadata.TSV")
    for left in ("._list.csv", "~$list.csv"):  # by a Mac, and by an office program that has the file open
        (tmp_path / left).write_bytes(b"\0")
    assert only_table(tmp_path) == path
    write(tmp_path, JSONL, "other.jsonl")
    with pytest.raises(UserError, match=r"holds 2 tables .* instead of one: metadata\.TSV, other\.jsonl"):
        only_table(tmp_path)


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES = st.text(st.one_of(LETTERS, st.sampled_from('",;\t\r\n\u2028\ufeff ')))
NAMES = st.lists(st.text("abcäö_ 1", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=3, unique=True)


@given(data=st.data(), names=NAMES)
def test_any_table_of_strings_comes_back(tmp_path: Path, data: st.DataObject, names: list[str]) -> None:
    """Written by the csv module with every value quoted, and by json, plain and one level down."""
    row = st.lists(VALUES, min_size=len(names), max_size=len(names)).filter(lambda row: any(map(str.strip, row)))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    nested = "".join(f"{json.dumps({'x': row}, ensure_ascii=False)}\n" for row in objects)
    for name, text in {"t.csv": file.getvalue(), "t.jsonl": nested, "t.json": json.dumps(objects)}.items():
        table = read_table(write(tmp_path, text, name))
        assert [list(row.values) for row in table.rows] == rows
        assert [column.removeprefix("x.") for column in table.columns] == names


def test_lines_of_nothing_but_spaces_are_no_records(tmp_path: Path) -> None:
    assert picked(write(tmp_path, JSONL.replace("\n", "\n  \t\n"), "t.jsonl")) == WANTED


@pytest.mark.parametrize("name", ["t.tsv", "T.TSV"])
def test_an_ending_means_the_same_in_capitals(tmp_path: Path, name: str) -> None:
    rows = read_table(write(tmp_path, "text\none, two\n", name)).pick({"text": ()})
    assert [row for _, row in rows] == [{"text": "one, two"}]


@pytest.mark.parametrize("content", ["path,text\n", "path,text\n,\n\n"])
def test_a_header_without_rows_is_one_line(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"t\.csv: has no rows below its header$"):
        list(read_table(write(tmp_path, content)).pick(KNOWN))
