"""Every cell of the tables of a comparison, for groups that were put together by hand."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unroll.comparison.made import logged
from unroll.comparison import charts
from unroll.comparison.groups import Comparison, Group
from unroll.comparison.statistics import Difference, Needed
from unroll.comparison.tables import exact, explained, plain, table, title

METRICS = {
    "parameters": 1234.6,
    "train/total_seconds": 65.4,
    "train/total_per_second": 9.94,
    "train/peak_memory_mb": 300.4,
}


def group(name: str, values: list[float], **more: Any) -> Group:
    metrics = more.pop("metrics", METRICS)
    runs = [logged(number, value, cell=name, metrics=metrics) for number, value in enumerate(values)]
    return Group({"model.cell": name}, runs, values, **more)


def compared(mode: Any = "min", **more: Any) -> Comparison:
    base = group("lstm", [0.5, 0.7], metrics=METRICS | {"train/total_per_second": 12.4})
    better = group(
        "gru", [0.3, 0.4], lost=2, p_holm=0.0004, needed=Needed(4, 3, 6),
        against=Difference(-0.25, -0.31, -0.19, 0.0499, -2.345),
    )  # fmt: skip
    unclear = group(
        "elman", [0.6], metrics={}, needed=Needed(4, 3, None), against=Difference(0.01, p=0.05), p_holm=0.05
    )
    worse = group("rwa", [0.9, 0.9], against=Difference(0.3, 0.2, 0.4, 0.001, None), p_holm=0.0499)
    return Comparison("speech", "test/wer", mode, ["model.cell"], [better, base, unclear, worse], base, "all", **more)


def test_rows_for_people() -> None:
    better, base, unclear, worse = table(compared(), "clips")
    assert better == {
        "model.cell": "gru", "n": 2, "mean": 0.35, "std": pytest.approx(0.0707, abs=1e-4), "best": 0.3,
        "difference": "-0.25", "95 % interval": "-0.31 to -0.19", "p": "0.050", "p Holm": "<0.001", "effect": "-2.3",
        "seeds needed": "", "failed": 2, "parameters": 1235, "time": "1:05", "clips/s": 9.94, "peak MB": 300,
    }  # fmt: skip
    assert base == {
        "model.cell": "lstm", "n": 2, "mean": 0.6, "std": pytest.approx(0.1414, abs=1e-4), "best": 0.5,
        "difference": "baseline", "95 % interval": "", "p": "", "p Holm": "", "effect": "", "seeds needed": "",
        "failed": 0, "parameters": 1235, "time": "1:05", "clips/s": 12, "peak MB": 300,
    }  # fmt: skip
    assert unclear == {
        "model.cell": "elman", "n": 1, "mean": 0.6, "std": "", "best": 0.6, "difference": "+0.01", "95 % interval": "",
        "p": "0.050", "p Holm": "0.050", "effect": "", "seeds needed": "3 or more", "failed": 0, "parameters": "",
        "time": "", "clips/s": "", "peak MB": "",
    }  # fmt: skip
    assert (worse["p"], worse["effect"], worse["seeds needed"], worse["std"]) == ("0.001", "", "", 0.0)


def test_lost_runs_are_a_column_only_where_there_are_any() -> None:
    found = compared()
    [row] = table(replace(found, groups=[found.groups[1]]))
    assert "failed" not in row and "difference" not in row and "examples/s" in row
    assert table(Comparison("a", "b", None, [], [Group({}, [logged(1, 0.5)], [0.5])]))[0]["runs"] == "all runs"


def test_rows_for_programs() -> None:
    found = compared(notes=["a note"], confounded={"k": {"g": ["1"]}})
    better, base, unclear, _ = exact(found)
    assert better == {
        "app": "speech", "metric": "test/wer", "model.cell": "gru", "n": 2, "mean": 0.35,
        "std": found.groups[0].std, "best": 0.3, "difference": -0.25, "low": -0.31, "high": -0.19, "p": 0.0499,
        "p_holm": 0.0004, "effect": -2.345, "seeds_needed": 4, "seeds_needed_low": 3, "seeds_needed_high": 6,
        "failed": 2, "parameters": 1234.6, "seconds": 65.4, "per_second": 9.94, "memory_mb": 300.4,
    }  # fmt: skip
    empty = (
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "effect",
        "seeds_needed",
        "seeds_needed_low",
        "seeds_needed_high",
    )
    assert [base[name] for name in empty] == [None] * len(empty)
    assert (unclear["difference"], unclear["low"], unclear["seeds_needed_high"], unclear["memory_mb"]) == (
        0.01, None, None, None,
    )  # fmt: skip
    whole = plain(found)
    assert whole["baseline"] == {"model.cell": "lstm"} and whole["notes"] == ["a note"]
    assert whole["groups"][0]["runs"] == [run.id for run in found.groups[0].runs]
    assert whole["runs"][0] == {
        "run": found.groups[0].runs[0].id, "by": {"model.cell": "gru"}, "value": 0.3, "digest": "d" * 64,
    }  # fmt: skip
    assert len(whole["runs"]) == 7 and plain(replace(found, baseline=None))["baseline"] is None


@pytest.mark.parametrize(
    ("mode", "words", "signs"),
    [
        ("min", ", less is better", ["+", "=", "", "-"]),
        ("max", ", more is better", ["-", "=", "", "+"]),
        (None, "", ["", "=", "", ""]),
    ],
)
def test_what_is_better_is_said_and_marked(mode: Any, words: str, signs: list[str]) -> None:
    found = compared(mode)
    assert title(found) == f"speech: test/wer{words}" and title(found, "seconds").endswith(f"{words}, at equal seconds")
    assert explained(found).startswith("difference: to lstm, with its 95 % interval")
    assert [charts.verdict(one, found)[0] for one in found.groups] == signs
