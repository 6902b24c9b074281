"""The checks of the conformance suite fail if an application breaks what they check."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unroll.training.toy import APP
from unroll.app import App, Mean, Report
from unroll.conformance import Subject, records_give_the_metrics
from unroll.data.store import Store

ROWS = [{"id": "a", "right": True, "words": 2, "group": "x"}, {"id": "b", "right": False, "words": 3, "group": None}]
MEANS = {"accuracy": Mean("right", share=True), "per_word": Mean("right", "words", share=True)}
REPORT = Report({"accuracy": 0.5, "per_word": 0.2}, ROWS, "v1", MEANS)


def subject(folder: Path, report: Report) -> Subject:
    def evaluate(model: Any, batches: Any) -> Report:
        return report

    app: App = replace(APP, evaluate=evaluate, score=replace(APP.score, name="accuracy"))
    return Subject(app, app.config(), Store(folder), folder)


def test_records_that_give_the_metrics_pass(tmp_path: Path) -> None:
    records_give_the_metrics(subject(tmp_path, REPORT))
    records_give_the_metrics(subject(tmp_path, replace(REPORT, means={})))


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, metrics={"accuracy": 0.5001, "per_word": 0.2}),
        replace(REPORT, means={"accuracy": Mean("right", "words")}),
        replace(REPORT, metrics={"accuracy": 2.5}, means={"accuracy": Mean("words", share=True)}),
        replace(REPORT, records=[row | {"group": 1} for row in ROWS]),
    ],
    ids=["another value", "another weight", "no share", "a group that is no name"],
)
def test_records_that_do_not_are_found(tmp_path: Path, report: Report) -> None:
    with pytest.raises(AssertionError):
        records_give_the_metrics(subject(tmp_path, report))
