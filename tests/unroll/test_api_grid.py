"""A real grid and a real ensemble through the Python API, whose trainings are processes of their own."""

from typing import Any

import pytest

import unroll
from unroll.errors import Notice

SMALL = {
    "train.epochs": 1, "data.sentences": 300, "data.vocabulary": 300, "model.hidden": 8, "model.embedding": 8,
}  # fmt: skip


@pytest.mark.slow  # five processes that import everything
def test_a_grid_is_trained_and_its_runs_are_an_ensemble(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    runs = unroll.train("translation", "smoke", SMALL, seeds=2, jobs=2, quiet=True)
    assert [(run.status, run.error, run.settings["train.seed"]) for run in runs] == [
        ("FINISHED", "", "0"), ("FINISHED", "", "1"),
    ]  # fmt: skip
    assert all("test/exact_match" in run.metrics and run.seconds for run in runs)
    both_ways = {**SMALL, "data.target_locale": [runs[0].settings["data.target_locale"], "xx"]}
    with pytest.warns(Notice, match=r"^1 of 2 runs failed: .*xx"):
        done, failed = unroll.train("translation", "smoke", both_ways, quiet=True)
    assert done.id == runs[0].id, "what is trained already is not trained again"
    assert failed.status == "FAILED" and "xx" in failed.error and failed.settings["data.target_locale"] == "xx"
    assert capfd.readouterr().out == ""

    both = unroll.load(runs)
    assert both.app == "translation" and both.run is None
    assert both.reference == ", ".join(f"run {run.id[:8]}" for run in runs)
    outputs = both.predict(both.examples)
    assert len(outputs) == len(both.examples) and all(isinstance(output, str) for output in outputs)
    twice = unroll.load([runs[0].id, runs[0]], settings={"decode.beam": 2})
    alone = unroll.load(runs[0], settings={"decode.beam": 2})
    assert twice.predict(both.examples) == alone.predict(both.examples)
