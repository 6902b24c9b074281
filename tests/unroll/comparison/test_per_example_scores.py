"""From an evaluation's records to scores per unit, as declared by the application's metric."""

from pathlib import Path

import numpy as np
import pytest

from unroll.app import Mean
from unroll.comparison.per_example_scores import per_example_scores
from unroll.tracking.example_table import write_records

EXAMPLES = 60
WER, RIGHT = Mean("score", "words"), Mean("right", share=True)


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


def test_a_ratio_of_sums_has_scores_of_its_value(records) -> None:
    rows, files = records()
    values = column(rows, "score").sum(1) / column(rows, "words").sum(1)
    found = per_example_scores("wer", values.tolist(), files, WER)
    assert found.how == f"seeds and {EXAMPLES} examples: sum(score) / sum(words)" and found.paired and not found.share
    assert found.scores.shape == (3, EXAMPLES) and found.scores.mean(1) == pytest.approx(values)
    assert found.shares == pytest.approx(column(rows, "words")[0] / column(rows, "words")[0].sum())


def test_a_mean_of_a_column_even_of_yes_and_no(records) -> None:
    rows, files = records()
    values = column(rows, "right").mean(1)
    found = per_example_scores("accuracy", values.tolist(), files, RIGHT)
    assert "mean(right)" in found.how and found.share and found.scores.mean(1) == pytest.approx(values)


def test_what_nobody_calls_a_mean_is_compared_by_whole_runs(records) -> None:
    rows, files = records()
    values = column(rows, "right").mean(1).tolist()  # which it is: nothing is guessed
    found = per_example_scores("accuracy", values, files, None)
    assert not found.paired and found.scores[:, 0].tolist() == values
    assert found.how.startswith("seeds only: accuracy is no mean over examples, or these runs are older than")


def test_what_is_said_must_hold_in_every_run(records) -> None:
    rows, files = records(6)
    values = column(rows, "right").mean(1)
    values[5] += 0.01
    found = per_example_scores("accuracy", values.tolist(), files, RIGHT)
    assert not found.paired and found.share
    assert found.how == "seeds only: not in every run do the records give accuracy as mean(right)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [row | {"id": row["id"] + "x"} for row in rows], "not evaluated on the same examples"),
        (lambda rows: [{k: v for k, v in row.items() if k != "right"} for row in rows], "not in every run do the"),
        (lambda rows: [row | {"right": None} for row in rows], "not in every run do the records give accuracy"),
        (lambda rows: [row | {"right": "yes"} for row in rows], "not in every run do the records give accuracy"),
        (lambda rows: [row | {"right": float("nan")} for row in rows], "not in every run do the records give accuracy"),
    ],
)
def test_records_that_do_not_go_together(records, change, said: str) -> None:
    rows, files = records()
    values = column(rows, "right").mean(1).tolist()
    _, files = records(run1=change)
    assert said in per_example_scores("accuracy", values, files, RIGHT).how


def test_missing_records_are_said(records) -> None:
    rows, files = records()
    values = column(rows, "right").mean(1).tolist()
    found = per_example_scores("accuracy", values, [files[0], None, files[2]], RIGHT)
    assert found.how == "seeds only: not every run has records of this split"


def grouped(rows, of=lambda number: f"speaker {number % 5}"):
    return [row | {"group": of(number)} for number, row in enumerate(rows)]


def test_examples_of_a_group_are_one_unit(records) -> None:
    rows, files = records(run0=grouped, run1=grouped, run2=grouped)
    values = column(rows, "score").sum(1) / column(rows, "words").sum(1)
    found = per_example_scores("wer", values.tolist(), files, WER)
    assert found.how == f"seeds and 5 groups of examples ({EXAMPLES} in all): sum(score) / sum(words)"
    assert found.scores.shape == (3, 5) and found.scores.mean(1) == pytest.approx(values)
    words = column(rows, "words")[0]
    assert found.shares == pytest.approx([words[speaker::5].sum() / words.sum() for speaker in range(5)])


def test_runs_from_before_there_were_groups_have_those_of_the_others(records) -> None:
    rows, files = records(run1=grouped)
    values = column(rows, "right").mean(1).tolist()
    assert "5 groups of examples" in per_example_scores("accuracy", values, files, RIGHT).how


def test_an_example_without_a_group_is_one_of_its_own(records) -> None:
    def some(rows):
        return grouped(rows, lambda number: "speaker" if number < 20 else None)

    rows, files = records(run0=some, run1=some, run2=some)
    values = column(rows, "right").mean(1).tolist()
    assert "41 groups of examples" in per_example_scores("accuracy", values, files, RIGHT).how


def test_groups_of_one_example_each_are_examples(records) -> None:
    def each(rows):
        return grouped(rows, lambda number: f"speaker {number}")

    rows, files = records(run0=each, run1=each, run2=each)
    found = per_example_scores("accuracy", column(rows, "right").mean(1).tolist(), files, RIGHT)
    assert found.how == f"seeds and {EXAMPLES} examples: mean(right)"


def test_a_single_group_says_so(records) -> None:
    def one(rows):
        return grouped(rows, lambda _: "speaker")

    rows, files = records(run0=one, run1=one, run2=one)
    found = per_example_scores("accuracy", column(rows, "right").mean(1).tolist(), files, RIGHT)
    assert found.scores.shape == (3, EXAMPLES)
    assert "60 examples of a single group (what holds for it need not hold for others)" in found.how
