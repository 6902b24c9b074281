"""`compare` on a realistic store: some runs failed, some are running, some are of other applications."""

import math
from dataclasses import replace
from typing import Any

import pytest

from unroll import app as apps
from unroll import tracking
from unroll.commands.compare import compare
from unroll.comparison.eligibility import BUDGET
from unroll.comparison.question import Question
from unroll.errors import Notice, UserError


@pytest.fixture
def make(client: Any):
    """A run of an application with a cell, a seed and the score on the test split."""

    def run(app: str, cell: str, seed: int, value: float | None, status: str = "FINISHED", *settings: str) -> str:
        loaded = apps.load(app)
        config = loaded.config("smoke", [f"model.cell={cell}", f"train.seed={seed}", *settings])
        made = tracking.Run(client, tracking.start(client, loaded, config, "d" * 64), system_metrics=False)
        made.log({} if value is None else {f"test/{loaded.score.name}": value}, 1)
        if status == "RUNNING":
            made.flush()
        else:
            made.finish(status)
        return made.id

    return run


def test_runs_that_came_to_nothing_are_listed_and_are_no_error(make, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [
        make("speech", "gru", 0, None, "FAILED"),
        make("speech", "gru", 1, None, "RUNNING"),
        make("speech", "gru", 2, math.nan),
        make("speech", "gru", 3, -math.inf),
    ]
    found = compare(["speech"], Question())
    assert found["groups"] == []
    assert {one["run"]: one["why"] for one in found["left_out"]} == {
        ids[0]: "ended as FAILED",
        ids[1]: "still running, or its process died without reporting it",
        ids[2]: "its test/wer is nan",
        ids[3]: "its test/wer is -inf",
    }
    said = capsys.readouterr().out
    assert said.count("left out: ") == 4
    assert f"speech: no finished run to compare in {tracking.where()}; train one: " in said


def test_a_metric_without_a_split_is_that_of_the_test_split_and_what_diverged_is_counted_with_its_group(make) -> None:
    for cell in ("gru", "elman"):
        make("speech", cell, 0, 0.1)
    make("speech", "gru", 1, math.inf)
    found = compare(["speech"], Question(metric="wer", by=("model.cell",)))
    assert found["metric"] == "test/wer"
    assert {group["by"]["model.cell"]: group["failed"] for group in found["groups"]} == {"gru": 1, "elman": 0}


def test_an_application_without_an_answer_does_not_hide_the_others(make) -> None:
    for seed in range(3):
        make("speech", "gru", seed, 0.1 + seed / 100)
        make("speech", "elman", seed, 0.5 + seed / 100)
        make("recommend", "gru", seed, 0.2)
    question = Question(by=("model.cell",), baseline="elman")
    with pytest.warns(Notice, match="recommend is left out: --baseline elman: is the value of no group"):
        found = compare(["speech", "recommend"], question)
    assert found["app"] == "speech" and [group["by"]["model.cell"] for group in found["groups"]] == ["gru", "elman"]
    assert found["groups"][0]["p"] < 0.01 and found["groups"][0]["high"] < 0
    with pytest.raises(UserError, match="--baseline elman: is the value of no group"):
        compare(["recommend"], question)


def test_unequal_budgets_are_refused_by_name_and_compared_when_that_is_asked_for(
    make, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        make("speech", "gru", seed, 0.1 + seed / 100, "FINISHED", "train.epochs=9")
        make("speech", "elman", seed, 0.5 + seed / 100, "FINISHED", "train.epochs=3")
    question = Question(by=("model.cell",), baseline="elman")
    with pytest.raises(UserError, match=r"differ in train.epochs \(elman 3, gru 9\) as well.*--confounded") as error:
        compare(["speech"], question)
    assert "\n" not in str(error.value)
    found = compare(["speech"], replace(question, confounded=True))
    assert found["confounded"] == {"train.epochs": {"elman": ["3"], "gru": ["9"]}}
    words = "the groups differ in train.epochs (elman 3, gru 9) as well: a difference may come from that"
    assert found["notes"] == [words]
    assert f"note: {found['notes'][0]}" in capsys.readouterr().out
    assert compare(["speech"], replace(question, by=("model.cell", "train.epochs"), baseline=None))["confounded"] == {}
    capsys.readouterr()
    compare(["speech"], replace(question, confounded=True), as_csv=True)
    out, err = capsys.readouterr()
    assert "note: " not in out and f"note: speech: {found['notes'][0]}" in err


def test_at_equal_seconds_only_the_precision_has_to_be_the_same() -> None:
    assert Question().budget == BUDGET and Question(confounded=True).budget == ()
    assert Question(equal="seconds").budget == ("train.precision",)


def test_how_many_seeds_is_a_range_for_programs_too(make) -> None:
    for seed in range(3):
        make("speech", "gru", seed, 0.1 + seed / 10)
        make("speech", "elman", seed, 0.4 + seed / 10)
    groups = compare(["speech"], Question(by=("model.cell",), baseline="elman"))["groups"]
    [gru] = [group for group in groups if group["by"]["model.cell"] == "gru"]
    assert 3 <= gru["seeds_needed_low"] <= gru["seeds_needed"] <= gru["seeds_needed_high"]
