"""Groups, baselines, differences and notes, on runs with records."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unroll.comparison.made import logged
from unroll.comparison.eligibility import Excluded
from unroll.comparison.groups import compare, corrected
from unroll.comparison.tables import plain
from unroll.errors import UserError
from unroll.tracking.example_table import read_records, write_records

MEANS = {"elman": 0.6, "lstm": 0.5, "gru": 0.3}


@pytest.fixture
def store(tmp_path: Path):
    """Runs of three cells and five seeds, with records; gru is clearly best."""
    generator = np.random.default_rng(0)
    hardness = generator.normal(0, 0.2, 80)
    runs, files = [], {}
    for cell, mean in MEANS.items():
        for seed in range(5):
            scores = mean + generator.normal(0, 0.01) + hardness + generator.normal(0, 0.1, 80)
            run = logged(len(runs), float(scores.mean()), cell=cell, seed=seed, metrics={"parameters": 100.0})
            runs.append(run)
            rows = [{"id": str(i), "score": float(score)} for i, score in enumerate(scores)]
            files[run.id] = write_records(rows, tmp_path, run.id)
    return runs[::-1], files


def test_groups_with_differences_to_the_baseline(store) -> None:
    runs, files = store
    found = compare("speech", runs, "test/wer", "min", files)
    assert found.by == ["model.cell"] and [group.name for group in found.groups] == ["gru", "lstm", "elman"]
    assert found.how == "seeds and 80 examples: mean(score)" and not found.notes
    gru, lstm, elman = found.groups
    assert found.baseline == gru and gru.against is None  # all have five runs: the newest is taken
    assert lstm.against.value == pytest.approx(lstm.mean - gru.mean)
    assert lstm.against.low < lstm.against.value < lstm.against.high
    assert lstm.against.low > 0 and elman.against.p < 0.001
    assert gru.best("min") == min(gru.values) and gru.best("max") == max(gru.values) and gru.best(None) is None
    assert gru.std == pytest.approx(np.std(gru.values, ddof=1)) and gru.cost("parameters") == 100
    assert gru.cost("seconds") is None


def test_the_baseline_may_be_named_and_is_that_of_the_default_preset_otherwise(store) -> None:
    runs, files = store
    assert compare("speech", runs, "test/wer", "min", files, usual={"model.cell": "lstm"}).baseline.name == "lstm"
    for wanted in ("elman", "model.cell=elman"):
        assert compare("speech", runs, "test/wer", "min", files, baseline=wanted).baseline.name == "elman"
    with pytest.raises(UserError, match="--baseline elmann: is the value of no group; did you mean elman"):
        compare("speech", runs, "test/wer", "min", files, baseline="elmann")
    with pytest.raises(UserError, match=r"--baseline 0: is in 3 groups; write key=value"):
        compare("speech", runs, "test/wer", "min", files, by=["model.cell", "train.seed"], baseline="0")


def test_an_unknown_key_names_the_nearest(store) -> None:
    runs, files = store
    with pytest.raises(UserError, match=r"--by model.cel: no run has this key; did you mean model.cell"):
        compare("speech", runs, "test/wer", "min", files, by=["model.cel"])


def test_what_a_group_mixes_is_said(store) -> None:
    runs, files = store
    runs[0].params["optimizer.lr"] = "0.2"
    found = compare("speech", runs, "test/wer", "min", files, by=["model.cell"])
    assert found.notes == [
        "the runs of a group differ in optimizer.lr too: add it to --by, or choose with --where KEY=VALUE"
    ]
    assert compare("speech", runs, "test/wer", "min", files).by == ["model.cell", "optimizer.lr"]


def test_what_sets_groups_apart_besides_their_keys_is_named(store) -> None:
    runs, files = store
    for run in runs:
        run.params["optimizer.lr"] = {"gru": "0.2"}.get(run.params["model.cell"], "0.1")
    found = compare("speech", runs, "test/wer", "min", files, by=["model.cell"])
    assert found.notes == [
        "the groups differ in optimizer.lr (gru 0.2, lstm 0.1, elman 0.1) as well: a difference may come from that"
    ]
    assert found.confounded == {"optimizer.lr": {"gru": ["0.2"], "lstm": ["0.1"], "elman": ["0.1"]}}
    assert plain(found)["confounded"] == found.confounded
    assert compare("speech", runs, "test/wer", "min", files).confounded == {}  # a key that they are made by


def test_another_factor_of_a_grid_sets_no_group_apart(store) -> None:
    runs, files = store
    for run in runs:  # two learning rates, in each cell with the same seeds
        run.params["optimizer.lr"] = "0.1" if run.params["train.seed"] in "01" else "0.2"
    found = compare("speech", runs, "test/wer", "min", files, by=["model.cell"])
    assert found.confounded == {} and len(found.notes) == 1 and "differ in optimizer.lr too" in found.notes[0]


@pytest.mark.parametrize(
    ("key", "values"),
    [("train.epochs", ("10", "40")), ("train.minutes", ("0.0", "5.0")), ("train.precision", ("32", "bf16-mixed"))],
)
def test_unequal_budgets_are_refused_unless_they_are_the_question(store, key: str, values: tuple[str, str]) -> None:
    runs, files = store
    for run in runs:
        run.params[key] = values[run.params["model.cell"] == "gru"]
    words = re.escape(f"--by model.cell: the groups differ in {key} (gru {values[1]}, lstm {values[0]}, elman")
    with pytest.raises(UserError, match=words) as error:
        compare("speech", runs, "test/wer", "min", files, by=["model.cell"])
    assert "--confounded" in str(error.value) and "\n" not in str(error.value)
    found = compare("speech", runs, "test/wer", "min", files, by=["model.cell"], equal=())
    assert key in found.confounded and f"differ in {key} (gru {values[1]}" in found.notes[0]
    assert compare("speech", runs, "test/wer", "min", files, by=["model.cell", key]).confounded == {}
    half = compare("speech", [*runs[:1], *runs[5:]], "test/wer", "min", files, by=["model.cell"], equal=())
    assert key in half.confounded


def test_some_runs_of_a_group_with_another_budget_are_refused_too(store) -> None:
    runs, files = store
    for run in runs:
        run.params["train.epochs"] = "10"
    runs[0].params["train.epochs"] = "20"
    with pytest.raises(UserError, match=r"train.epochs \(gru 10 and 20, lstm 10, elman 10\)"):
        compare("speech", runs, "test/wer", "min", files, by=["model.cell"])


def test_a_run_that_is_older_than_a_key_has_its_usual_value(store) -> None:
    runs, files = store
    for run in runs[:5]:
        run.params["train.epochs"] = "10"
    usual = {"train.epochs": "10"}
    assert compare("speech", runs, "test/wer", "min", files, by=["model.cell"], usual=usual).confounded == {}


def test_what_the_clock_has_cut_short_is_a_budget(store) -> None:
    runs, files = store
    for run in runs:
        run.params["train.minutes"] = "1.0"
        run.metrics["train/total_seconds"] = {"elman": 20.0}.get(run.params["model.cell"], 60.0)
    with pytest.raises(UserError, match=r"differ in seconds of training \(gru 60, lstm 60, elman 20\) as well"):
        compare("speech", runs, "test/wer", "min", files, by=["model.cell"])
    for run in runs:  # nobody came near the limit: how long a cell takes is its own affair
        run.params["train.minutes"] = "5.0"
    assert compare("speech", runs, "test/wer", "min", files, by=["model.cell"]).confounded == {}


def test_an_interval_goes_with_the_metric_where_records_are_rounded(store, tmp_path: Path) -> None:
    runs, files = store
    plain_one = compare("speech", runs, "test/wer", "min", files)
    shift = {"gru": 0.0, "lstm": 3e-5, "elman": -3e-5}
    moved = [
        replace(run, metrics={"test/wer": run.metrics["test/wer"] + shift[run.params["model.cell"]]}) for run in runs
    ]
    found = compare("speech", moved, "test/wer", "min", files)
    assert found.how == plain_one.how
    for one, other in zip(found.groups[1:], plain_one.groups[1:], strict=True):
        by = shift[one.name]
        assert one.against.value == pytest.approx(other.against.value + by, abs=1e-12)
        assert one.against.low == pytest.approx(other.against.low + by, abs=1e-12)
        assert one.against.high == pytest.approx(other.against.high + by, abs=1e-12)


def test_the_difference_of_two_shares_stays_within_what_it_can_be(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    runs, files = [], {}
    for cell, chances in {"elman": (0.05, 0.6), "gru": (0.7, 1.0)}.items():
        for seed, chance in enumerate(chances):
            right = generator.random(40) < chance
            run = logged(len(runs), float(right.mean()), "test/accuracy", cell=cell, seed=seed)
            run.tags["means.test"] = '{"accuracy": {"numerator": "right", "weight": "", "share": true}}'
            runs.append(run)
            files[run.id] = write_records(
                [{"id": str(i), "right": bool(r)} for i, r in enumerate(right)], tmp_path, run.id
            )
    [base, other] = compare("image", runs, "test/accuracy", "max", files, baseline="elman").groups[::-1]
    assert base.against is None and (other.against.low, other.against.high) == (-1.0, 1.0)
    for run in runs:
        run.tags["means.test"] = run.tags["means.test"].replace("true", "false")
    assert compare("image", runs, "test/accuracy", "max", files, baseline="elman").groups[0].against.high > 1.5


def test_runs_that_do_not_agree_on_what_the_metric_is_are_compared_whole(store) -> None:
    runs, files = store
    runs[3].tags["means.test"] = "{}"
    found = compare("speech", runs, "test/wer", "min", files)
    assert found.how.startswith("seeds only: wer is no mean over examples, or these runs are older than")


def test_examples_of_one_group_are_resampled_together(store, tmp_path: Path) -> None:
    runs, files = store
    alone = compare("speech", runs, "test/wer", "min", files)
    grouped = {}
    for run in runs:
        rows = [{**row, "group": f"speaker {int(row['id']) % 8}"} for row in read_records(files[run.id])]
        grouped[run.id] = write_records(rows, tmp_path, f"grouped-{run.id}")
    found = compare("speech", runs, "test/wer", "min", grouped)
    assert found.how == "seeds and 8 groups of examples (80 in all): mean(score)"
    assert found.groups[1].against.value == pytest.approx(alone.groups[1].against.value)
    assert found.groups[1].against.spread.freedom == pytest.approx(7)


def test_one_seed_gives_no_interval_but_the_number_that_would_be_needed(store) -> None:
    runs, files = store
    few = [run for run in runs if run.params["model.cell"] != "gru"] + [runs[0]]
    found = compare("speech", few, "test/wer", "min", files, baseline="lstm")
    [single] = [group for group in found.groups if group.name == "gru"]
    assert single.against.p is None and single.against.low is None and single.std is None
    assert (single.needed.likely, single.needed.low, single.needed.high) == (3, 3, 3)
    [note] = found.notes
    assert "gru: one seed, so no interval and no test can be given" in note
    assert "to show a difference of 0.2084, 3 seeds would be needed, by the spread of the other groups" in note


def test_where_nothing_is_known_of_the_spread_the_number_is_in_units_of_it(store) -> None:
    runs, files = store
    alone = {run.params["model.cell"]: run for run in runs}
    found = compare("speech", list(alone.values()), "test/wer", "min", files)
    assert all(group.against is None or group.against.p is None for group in found.groups)
    assert (
        "6 seeds each would be needed to show a difference of two standard deviations between seeds, 17 for"
        in (found.notes[0])
    )
    assert found.notes[0].startswith(", ".join(group.name for group in found.groups) + ": one seed, so no interval")
    assert "invoke train --app speech --seeds 6" in found.notes[0] and len(found.notes) == 1


def test_failed_trainings_are_counted_with_their_group(store) -> None:
    runs, files = store
    left = [Excluded(logged(90, cell="elman", status="FAILED"), "ended as FAILED")]
    found = compare("speech", runs, "test/wer", "min", files, left=left)
    assert {group.name: group.lost for group in found.groups} == {"gru": 0, "lstm": 0, "elman": 1}
    assert found.left == left


def test_a_training_that_came_to_nan_is_counted_as_lost_and_one_that_does_not_fit_is_not(store) -> None:
    runs, files = store
    left = [
        Excluded(logged(90, float("nan"), cell="elman"), "test/wer is nan"),
        Excluded(logged(91, float("inf"), cell="elman"), "test/wer is inf"),
        Excluded(logged(92, 0.3, cell="lstm"), "other data"),
        Excluded(logged(93, cell="lstm"), "has no test/wer"),
    ]
    found = compare("speech", runs, "test/wer", "min", files, left=left)
    assert {group.name: group.lost for group in found.groups} == {"gru": 0, "lstm": 0, "elman": 2}


def test_the_interval_lies_around_the_difference_of_the_metric_itself(store) -> None:
    """The metric and the records may be rounded differently; the interval must not tell of another difference."""
    runs, files = store
    exact = compare("speech", runs, "test/wer", "min", files, baseline="gru")
    for run in runs:
        run.metrics["test/wer"] = float(f"{run.metrics['test/wer']:.5f}")
    rounded = compare("speech", runs, "test/wer", "min", files, baseline="gru")
    for one, other in zip(exact.groups, rounded.groups, strict=True):
        if other.against is None:
            continue
        assert other.against.value == pytest.approx(other.mean - rounded.baseline.mean, abs=1e-12)
        assert other.against.value != one.against.value
        moved = other.against.value - one.against.value
        assert other.against.low == pytest.approx(one.against.low + moved, abs=1e-9)
        assert other.against.high == pytest.approx(one.against.high + moved, abs=1e-9)


def test_versions_of_the_code_are_said(store) -> None:
    runs, files = store
    for number, run in enumerate(runs):
        run.tags["code.digest"] = str(number % 2)
    assert "made by 2 versions of the code" in compare("speech", runs, "test/wer", "min", files).notes[0]


def test_holm_is_over_all_tables_together(store) -> None:
    runs, files = store
    one = compare("speech", runs, "test/wer", "min", files)
    [alone] = corrected([one])
    both = corrected([one, one])
    for i, group in enumerate(one.groups):
        if group.against is None:
            assert both[0].groups[i].p_holm is None
        else:
            assert both[1].groups[i].p_holm == pytest.approx(min(1, 2 * alone.groups[i].p_holm))
            assert alone.groups[i].p_holm >= group.against.p


def test_nothing_to_compare_is_no_error() -> None:
    found = compare("speech", [], "test/wer", "min", {}, by=["model.cell"])
    assert found.groups == [] and found.baseline is None
