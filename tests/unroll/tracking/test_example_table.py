"""Tables for spreadsheets: everything is read back, and nothing is evaluated as a formula."""

import csv

import pytest

from unroll.errors import UserError
from unroll.tracking.example_table import write_csv


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://a","b")'])
def test_what_looks_like_a_formula_is_made_a_text(tmp_path, text):
    write_csv(tmp_path / "a.csv", [{"token": text, "bits": -1.5}])
    assert read(tmp_path / "a.csv") == [{"token": f"'{text}", "bits": "-1.5"}]


def test_other_texts_come_back_as_they_were(tmp_path):
    rows = [{"token": text, "n": str(i)} for i, text in enumerate(['a,"b"', "line\nend", "ü", " =", "", "'"])]
    write_csv(tmp_path / "a.csv", rows)
    assert read(tmp_path / "a.csv") == rows


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_csv(tmp_path / "none" / "a.csv", [{"a": 1}])
