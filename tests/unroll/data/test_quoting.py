"""Quotation marks: quoted values are read back unchanged, and never join rows unnoticed."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.data.quoting import rows
from unroll.errors import UserError

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WITHOUT_ENDS = st.text(st.one_of(LETTERS, st.sampled_from('",;\t ')).filter(lambda letter: letter not in "\r\n"))
ANY = st.text(st.one_of(LETTERS, st.sampled_from('",;\t\r\n ')))


def tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    return st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=6)
    )


def written(table: list[list[str]], mark: str, quoting: int) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=mark, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@given(table=tables(ANY))
def test_a_table_with_every_value_quoted_comes_back(mark: str, table: list[list[str]]) -> None:
    assert rows("t", written(table, mark, csv.QUOTE_ALL), mark) == table


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@given(table=tables(WITHOUT_ENDS))
def test_a_table_with_quotes_where_needed_comes_back(mark: str, table: list[list[str]]) -> None:
    assert rows("t", written([["x"] * len(table[0]), *table], mark, csv.QUOTE_MINIMAL), mark)[1:] == table


@given(table=tables(WITHOUT_ENDS.filter(lambda text: "\t" not in text)))
def test_between_tabs_quotation_marks_are_characters(table: list[list[str]]) -> None:
    """Unless the whole is written as CSV would write it, which one row with a mark of its own is not."""
    table = [[f"{value}'" for value in row] for row in [*table, ['5" disk'] * len(table[0])]]
    assert rows("t", "\n".join("\t".join(row) for row in table), "\t") == table


PAIRS = [[f"a {n}", f"b {n}", f"{n}.5"] for n in range(60)]


def stray(mark: str, first: int, second: int) -> str:
    """Sixty pairs; a sentence that begins with a quotation mark in one row, one that ends with it in another."""
    table = [list(row) for row in PAIRS]
    table[first][0], table[second][0] = f'"{table[first][0]}', f'{table[second][0]}"'
    return "".join(f"{mark.join(row)}\n" for row in [["a", "b", "score"], *table])


def test_a_stray_mark_between_tabs_swallows_nothing() -> None:
    found = rows("t", stray("\t", 5, 9), "\t")
    assert len(found) == 61 and found[6][0] == '"a 5' and found[10][0] == 'a 9"'


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("second", [6, 9])
def test_a_stray_mark_in_csv_names_the_row_where_it_opens(mark: str, second: int) -> None:
    with pytest.raises(UserError, match=rf"t, row 7: a quotation mark opens here and closes {second - 5} lines later"):
        rows("t", stray(mark, 5, second), mark)


def test_a_stray_mark_is_found_among_rows_that_are_properly_quoted() -> None:
    with pytest.raises(UserError, match="row 8: a quotation mark opens here and closes 4 lines later"):
        rows("t", stray(",", 5, 9).replace("a,b,score\n", 'a,b,score\n"x, y",z,1\n'), ",")


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_stray_mark_among_numbers_is_no_program_that_quotes_texts(mark: str) -> None:
    text = f'a{mark}b{mark}c\n"1{mark}2{mark}3\n4{mark}5{mark}6\n7"{mark}8{mark}9\n'
    if mark == "\t":
        assert rows("t", text, mark)[1:] == [['"1', "2", "3"], ["4", "5", "6"], ['7"', "8", "9"]]
        return
    with pytest.raises(UserError, match="t, row 2: a quotation mark opens here and closes 2 lines later"):
        rows("t", text, mark)


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_mark_that_never_closes(mark: str) -> None:
    text = f'a{mark}b\nx{mark}"y\nz{mark}w\n'
    if mark == "\t":
        assert rows("t", text, mark) == [["a", "b"], ["x", '"y'], ["z", "w"]]
        return
    with pytest.raises(UserError, match="t, row 2: a quotation mark opens here and does not close"):
        rows("t", text, mark)


def test_a_mark_that_closes_inside_a_value() -> None:
    with pytest.raises(UserError, match="t, row 2: a quotation mark opens here and closes inside a value"):
        rows("t", 'a,b\n"x" y,z\n', ",")


def test_a_text_of_several_lines_is_believed_where_it_is_no_row() -> None:
    assert rows("t", 'id,text\n1,"one\ntwo"\n2,"x, y"\n', ",")[1:] == [["1", "one\ntwo"], ["2", "x, y"]]
    assert rows("t", 'id\ttext\n1\t"one\ntwo"\n', "\t")[1:] == [["1", "one\ntwo"]]


def reviews(stars: bool) -> list[list[str]]:
    """Texts of two lines; of every third, each line has as many commas as a row."""
    texts = [f"Good, no. {n}\nreally, yes" if n % 3 == 0 else f"Good {n}\n\nreally" for n in range(30)]
    return [[f"no. {n}", text, *(["3.5"] if stars else [])] for n, text in enumerate(texts)]


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("stars", [True, False])
def test_texts_of_several_lines_that_happen_to_look_like_rows(mark: str, stars: bool) -> None:
    """Numbers at the end tell that the lines are no rows; without them, that most other texts do not look like rows."""
    table = [["id", "text", "stars"][: 2 + stars], *reviews(stars), ["end", "one line", "1"][: 2 + stars]]
    table = [[value.replace(", ", f"{mark} ") for value in row] for row in table]
    assert rows("t", written(table, mark, csv.QUOTE_MINIMAL), mark) == table


def test_one_that_looks_like_rows_among_texts_that_do_not_is_refused_by_its_numbers() -> None:
    text = written([["id", "text", "stars"], *reviews(True), ["x", "y", "1"]], ",", csv.QUOTE_MINIMAL)
    with pytest.raises(UserError, match="row 33: a quotation mark opens here and closes 1 lines later"):
        rows("t", f'{text}"a,b,2\nc",d,3\n', ",")


def test_every_text_quoted_is_evidence_enough() -> None:
    """Two lines that each look like a row, in a file that quotes all of its texts, as R and spreadsheets do."""
    assert rows("t", 'id,text\n1,"one\ntwo, three"\n2,"four"\n', ",")[1] == ["1", "one\ntwo, three"]
    assert rows("t", '"a"\t"b"\n"one\ttwo\nthree"\t"x"\n', "\t")[1] == ["one\ttwo\nthree", "x"]


def test_whoever_knows_how_it_is_quoted_says_so() -> None:
    assert rows("t", '"a",b\n', ",", quotes=False) == [['"a"', "b"]]
    assert rows("t", '"a\nx"\tb\n5" disk\tc\n', "\t", quotes=True) == [["a\nx", "b"], ['5" disk', "c"]]


def test_all_line_ends_and_empty_lines_are_rows() -> None:
    assert rows("t", "a,b\r1,2\r\r\n3,4\n5,6", ",") == [["a", "b"], ["1", "2"], [""], ["3", "4"], ["5", "6"]]
