"""Which runs are comparable, which are left out and with what reason."""

import math

import pytest

from tests.unroll.comparison.made import logged
from unroll.app import Data, Report
from unroll.comparison.eligibility import (
    comparable,
    confounded,
    differing,
    middle_size,
    of_equal_size,
    one_per_seed,
    usable,
    within,
)
from unroll.tracking import Logged
from unroll.training.signatures import signature


def why(left) -> dict[int, str]:
    return {int(one.run.id): one.why for one in left}


def test_unfinished_runs_and_runs_without_a_finite_value_are_left_out() -> None:
    runs = [
        logged(1, 0.5),
        logged(2, 0.5, status="FAILED"),
        logged(3, status="RUNNING"),
        logged(4, status="KILLED"),
        logged(5),
        logged(6, math.nan),
    ]
    found, left = usable(runs, "test/wer")
    assert found == runs[:1]
    assert why(left) == {
        2: "ended as FAILED",
        3: "still running, or its process died without reporting it",
        4: "ended as KILLED",
        5: "has no test/wer",
        6: "its test/wer is nan",
    }


def test_other_data_and_other_signatures_are_refused_with_the_reason() -> None:
    def signed(number: int, rule: str, **more: str) -> Logged:
        data = Data([], [], [], {}, more.get("digest", "d" * 64), rule)
        report = Report({"wer": 1.0}, [], more.get("way", "wer|case:kept"))
        return logged(number, 1.0, digest=data.digest, signature=signature(report, "test", data))

    runs = [
        signed(1, "by record, in tenths", digest="f" * 64),
        signed(2, "by voice"),
        signed(3, "by voice"),
        signed(4, "by voice", digest="e" * 64),
        signed(5, "by voice", way="wer|case:lower"),
        logged(6, 1.0, signature="wer|case:kept"),
    ]
    assert runs[0].tags["signature.test"] == f"wer|case:kept|split:test, by record, in tenths|data:{'f' * 12}"
    found, left = comparable(runs, "test")
    assert found == runs[1:3] and comparable(runs, "val") == (found, left)
    assert why(left) == {
        1: "other split rule: by record, in tenths against by voice",
        4: f"other data: digest {'e' * 12}, not {'d' * 12}",
        5: "the metric was computed in another way: wer|case:lower, not wer|case:kept",
        6: "other split rule: unsigned against by voice",
    }
    assert comparable([], "test") == ([], [])


def test_of_sets_of_equal_size_the_newest_is_taken() -> None:
    newest, older = logged(2, 1.0, digest="e" * 64), logged(1, 1.0)
    assert comparable([newest, older], "test")[0] == [newest]


def test_a_second_run_of_the_same_seed_counts_once() -> None:
    runs = [logged(3, 0.1, seed=0, params={"train.device": "gpu"}), logged(2, 0.2, seed=1), logged(1, 0.3, seed=0)]
    found, left = one_per_seed(runs)
    assert found == runs[:2]
    assert why(left) == {1: "same settings and seed as the newer run 00000000"}


def test_equal_parameters() -> None:
    runs = [logged(n, 1.0, metrics={"parameters": size}) for n, size in enumerate([100, 109, 120])]
    runs.append(logged(3, 1.0))
    found, left = of_equal_size(runs, 100)
    assert found == runs[:2] and why(left)[2] == "120 parameters, more than 10% from 100"
    assert middle_size(runs) == 109 and math.isnan(middle_size(runs[3:]))


@pytest.mark.parametrize(("mode", "best"), [("min", [0.4, 0.6]), ("max", [0.9, 0.7])])
def test_equal_seconds_takes_the_best_value_reached_by_then(mode, best) -> None:
    runs = [logged(n, metrics={"train/total_seconds": seconds}) for n, seconds in enumerate([30.0, 20.0, 90.0])]
    scores = {
        runs[0].id: {1: 0.9, 2: 0.4, 3: 0.1 if mode == "min" else 0.99},
        runs[1].id: {1: 0.7, 2: 0.6},
        runs[2].id: {1: 0.1},
    }
    times = {runs[0].id: {1: 5.0, 2: 20.0, 3: 30.0}, runs[1].id: {1: 10.0, 2: 20.0}, runs[2].id: {1: 80.0}}
    limit, found, left = within(runs, "val/wer", mode, scores, times)
    assert limit == 20.0 and [run.metrics["val/wer"] for run in found] == best
    assert why(left) == {2: "not evaluated once within 20.0 s"}


def test_only_what_differs_is_shown_in_the_configurations_order() -> None:
    runs = [logged(1, cell="gru", seed=1), logged(2, cell="lstm", seed=1, params={"new.key": "x"})]
    assert differing(runs) == ["model.cell", "new.key"]
    assert differing(runs[:1]) == []


def test_values_that_set_groups_apart_are_listed_in_order() -> None:
    groups = {
        "a": [logged(number, 0.5, params={"optimizer.lr": lr}) for number, lr in enumerate(("0.3", "0.1", "0.2"))],
        "b": [logged(9, 0.5, params={"optimizer.lr": "0.1"})],
    }
    assert confounded(groups, [], {})["optimizer.lr"] == {"a": ["0.1", "0.2", "0.3"], "b": ["0.1"]}
