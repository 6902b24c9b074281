"""From the records of an evaluation to scores per example: found where the metric can be had from them, else not."""

from pathlib import Path

import numpy as np
import pytest

from core.training.evidence import evidence
from core.training.records import write_records

EXAMPLES = 60


@pytest.fixture
def records(tmp_path: Path):
    """Writes the records of runs that get errors, words and a share of each example right."""
    generator = np.random.default_rng(0)
    words = generator.integers(1, 9, EXAMPLES)

    def write(runs: int = 3, **changes):
        rows = []
        for run in range(runs):
            errors = generator.binomial(words, 0.1 + 0.1 * run)
            plain = [{"id": f"e{i}", "reference": "text", "right": i % 7 < 3 + run} for i in range(EXAMPLES)]
            counts = zip(errors.tolist(), words.tolist(), strict=True)
            rows.append([row | {"score": e, "words": w} for row, (e, w) in zip(plain, counts, strict=True)])
        for run, change in changes.items():
            rows[int(run.removeprefix("run"))] = change(rows[int(run.removeprefix("run"))])
        return rows, [write_records(row, tmp_path, f"run{run}") for run, row in enumerate(rows)]

    return write


def column(rows, name):
    return np.array([[row[name] for row in run] for run in rows], dtype=float)


def test_a_ratio_of_sums_is_found_and_its_scores_have_its_value(records) -> None:
    rows, files = records()
    values = column(rows, "score").sum(1) / column(rows, "words").sum(1)
    found = evidence("wer", values.tolist(), files)
    assert found.how == f"seeds and {EXAMPLES} examples: sum(score) / sum(words)" and found.paired
    assert found.scores.shape == (3, EXAMPLES) and found.scores.mean(1) == pytest.approx(values)


def test_a_mean_of_a_column_even_of_yes_and_no(records) -> None:
    rows, files = records()
    values = column(rows, "right").mean(1)
    found = evidence("accuracy", values.tolist(), files)
    assert "mean(right)" in found.how and found.scores.mean(1) == pytest.approx(values)


def test_a_weighted_mean_times_a_constant(records) -> None:
    rows, files = records()
    scores, words = column(rows, "score"), column(rows, "words")
    values = 0.37 * (scores * words).sum(1) / words.sum(1)
    found = evidence("bits_per_character", values.tolist(), files)
    assert "0.37 x mean(score) weighted by words" in found.how
    assert found.scores.mean(1) == pytest.approx(values)


def test_what_is_no_mean_is_compared_by_whole_runs(records) -> None:
    rows, files = records()
    values = (2 ** column(rows, "score").mean(1)).tolist()
    found = evidence("perplexity", values, files)
    assert not found.paired and found.scores[:, 0].tolist() == values
    assert found.how == "seeds only: this metric is no mean of the scores of examples"


def test_a_formula_must_hold_in_every_run(records) -> None:
    rows, files = records(6)
    values = column(rows, "right").mean(1)
    values[5] += 0.01
    found = evidence("accuracy", values.tolist(), files)
    assert not found.paired and "not in every run is this metric mean(right)" in found.how


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [row | {"id": row["id"] + "x"} for row in rows], "not evaluated on the same examples"),
        (lambda rows: [{k: v for k, v in row.items() if k != "right"} for row in rows], "no mean of the scores"),
    ],
)
def test_records_that_do_not_go_together(records, change, said: str) -> None:
    rows, files = records(run1=change)
    values = [float(np.mean([row.get("right", 0.5) for row in run])) for run in rows]
    assert said in evidence("accuracy", values, files).how


def test_missing_records_are_said(records) -> None:
    rows, files = records()
    found = evidence("accuracy", column(rows, "right").mean(1).tolist(), [files[0], None, files[2]])
    assert found.how == "seeds only: not every run has records of this split"
