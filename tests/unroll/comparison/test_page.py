"""A comparison as rows and charts, with any part missing."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.unroll.comparison.made import logged
from unroll.comparison import charts
from unroll.comparison.eligibility import Excluded
from unroll.comparison.groups import Comparison, compare, corrected
from unroll.comparison.page import page
from unroll.comparison.tables import exact, left_out, plain, table, title

COSTS = {
    "parameters": 9000.0,
    "train/total_seconds": 65.0,
    "train/total_per_second": 1234.0,
    "train/peak_memory_mb": 300,
}


def found(cells: int = 3, seeds: int = 3, mode="min", **metrics) -> Comparison:
    generator = np.random.default_rng(0)
    runs = [
        logged(10 * cell + seed, cell + generator.normal(0, 0.01), cell=f"c{cell}", seed=seed, metrics=metrics)
        for cell in range(cells)
        for seed in range(seeds)
    ]
    left = [Excluded(logged(99, status="FAILED", cell="c0"), "ended as FAILED")]
    one = compare("speech", runs, "test/wer", mode, {}, by=["model.cell"], baseline="c0", left=left)
    return corrected([one])[0]


def test_a_row_for_people() -> None:
    row = table(found(**COSTS), "seconds of audio")[1]
    assert row["model.cell"] == "c1" and row["n"] == 3 and float(row["difference"]) == pytest.approx(1, abs=0.05)
    low, high = map(float, row["95 % interval"].split(" to "))
    assert 0.9 < low < float(row["difference"]) < high < 1.1
    assert row["p Holm"] == "<0.001" and row["seeds needed"] == ""
    assert row["parameters"] == 9000 and row["time"] == "1:05" and row["seconds of audio/s"] == 1234
    assert row["failed"] == 0 and table(found())[0]["failed"] == 1 and table(found())[0]["difference"] == "baseline"


def test_runs_that_are_left_out_are_listed_up_to_a_number() -> None:
    one = found()
    assert left_out(one) == [f"left out: {one.left[0].run.id[:8]} (FAILED): ended as FAILED"]
    one = replace(one, left=one.left * 22)
    assert len(left_out(one)) == 21 and left_out(one, "; see there")[-1] == "left out: 2 more; see there"


def test_one_group_is_compared_with_nothing() -> None:
    assert "difference" not in table(found(cells=1))[0]
    assert title(found(mode=None)) == "speech: test/wer" and table(found(mode=None))[0]["best"] == ""


def test_rows_for_programs_are_json_and_hold_every_number() -> None:
    one = found(seeds=1)
    text = json.dumps(plain(one), allow_nan=False)
    group = json.loads(text)["groups"][1]
    assert {"by", "n", "mean", "std", "best", "difference", "low", "high", "p", "p_holm", "effect"} <= group.keys()
    assert group["p"] is None and group["n"] == 1 and group["std"] is None
    assert exact(found())[2]["model.cell"] == "c2" and exact(found())[2]["p"] < 0.01


@pytest.mark.parametrize("one", [found(**COSTS), found(seeds=1), found(cells=1), found(cells=10, mode=None)])
def test_pictures_of_whatever_there_is(one: Comparison) -> None:
    runs = [run.id for group in one.groups for run in group.runs]
    scores = {id: {1: 0.5, 2: float("nan"), 3: 0.4} for id in runs[:-1]}
    times = {id: {1: 1.0, 3: 3.0} for id in runs[1:]}
    text = str(page([one], {"speech": ("val/wer", scores, times)}, {}, "now"))
    costs = one.groups[0].cost("parameters") is not None
    assert text.count("<img") == (len(one.groups) > 1) + 1 + costs
    assert "ended as FAILED" in text and "nan" not in re.sub('base64,[^"]*', "", text)


def test_the_matrix_has_a_column_for_each_application_and_says_what_is_shown() -> None:
    other = replace(found(mode="max"), app="image")
    axes = charts.matrix([found(), other]).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["speech\nwer ↓", "image\nwer ↑"]
    signs = [word.split()[-1] for word in words[1::2]]
    assert sorted(signs[:3]) == ["-", "-", "="] and sorted(signs[3:]) == ["+", "+", "="]
    text = str(page([found(), other], {}, {}, "now"))
    assert "All applications" in text


def test_a_page_says_how_to_read_differences_where_there_are_some() -> None:
    several, one = (str(page([found(cells=cells)], {}, {}, "now")) for cells in (2, 1))
    assert "difference: to c0" in several and "95 % intervals" in several
    assert "difference" not in re.sub('base64,[^"]*', "", one)


def test_an_application_without_runs_is_said() -> None:
    empty = compare("image", [], "test/accuracy", "max", {})
    assert "No finished run to compare" in str(page([found(), empty], {}, {}, "now"))
