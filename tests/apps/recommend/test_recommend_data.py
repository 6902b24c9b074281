"""Batches: every click where it belongs, the same for both modes."""

import numpy as np
import pytest
import torch

from unroll.app import load
from unroll.apps.recommend import data
from unroll.apps.recommend.data import NOTHING, Clicks, buckets, gap_bucket
from unroll.data.store import Store
from unroll.training.evaluation import evaluate
from unroll.training.loop import fit

from .conftest import ITEMS, loaded, prepared, shop


@pytest.mark.parametrize("mode", ["sessions", "padded"])
def test_every_training_click_is_predicted_once_from_the_one_before(tmp_path, mode):
    result = loaded(prepared(tmp_path), mode=mode)
    pairs = []
    for batch in result.train:
        steps = torch.arange(len(batch.items))[:, None] < batch.lengths
        assert (batch.targets == NOTHING).equal(~steps)
        pairs += zip(batch.items[steps].tolist(), batch.targets[steps].tolist(), strict=True)
        if mode == "sessions":
            assert batch.reset[steps].equal(batch.items[steps] == 0)  # every session begins with a
    assert sorted(pairs) == [(0, 1)] * 10 + [(1, 2)] * 10


def test_gaps(tmp_path):
    batch = next(iter(loaded(prepared(tmp_path), mode="padded").train))
    assert batch.gaps[0].eq(0).all() and batch.gaps[1].eq(gap_bucket(10.0)).all()
    assert buckets(np.array([0.0, 1.0, 3.0, 1e12])).tolist() == [1, 2, 3, data.GAPS - 1]
    assert gap_bucket(None) == gap_bucket(float("nan")) == 0


@pytest.mark.parametrize("mode", ["sessions", "padded"])
def test_a_users_file_with_features_from_start_to_end(tmp_path, mode):
    shop(tmp_path, ITEMS)
    app = load("recommend")
    files = [f"data.path={tmp_path / 'log.csv'}", f"data.items={tmp_path / 'items.csv'}"]
    options = ["data.source=csv", "data.features=true", "model.gaps=true", "model.hidden=16", f"train.mode={mode}"]
    config = app.config("smoke", [*options, *files, "train.rows=4", "train.epochs=2"])
    store = Store(tmp_path / "store")
    app.prepare(config, store)
    ready = app.data(config, store)
    torch.manual_seed(0)
    model = app.model(config, ready.facts)
    fit(app, config, ready, model, tmp_path / "run")
    report = evaluate(app, model, ready.test)
    assert len(report.records[0]["ranks"]) == 2  # the last day's item z is a target, though no training click was on it
    assert report.metrics["recall@5"] == 1.0
    assert app.baselines(config, ready)["popularity"]["recall@5"] == 1.0
    [output] = app.predict(model.eval(), ["Apple"])
    assert {row["title"] for row in output["recommended"]} == {"Apple", "Bread", "Corn", "Pear", "Plum"}


def test_the_sessions_of_one_user_are_a_group(tmp_path):
    """Where a log names users beside sessions; whose session it is tells its first row, and may be unknown."""
    shop(tmp_path)
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    users = ["" if row.startswith("s29") else f"u{int(row[1:3]) % 4}" for row in rows]
    lines = [f"{row},{user}" for row, user in zip(rows, users, strict=True)]
    (tmp_path / "log.csv").write_text("\n".join([f"{header},user_id", *lines]))
    app = load("recommend")
    config = app.config("smoke", ["data.source=csv", f"data.path={tmp_path / 'log.csv'}", "model.hidden=16"])
    store = Store(tmp_path / "store")
    app.prepare(config, store)
    ready = app.data(config, store)
    records = evaluate(app, app.model(config, ready.facts), ready.test).records
    wanted = {f"s{number}": f"u{number % 4}" for number in range(20, 29)} | {"s29": None}
    assert {record["id"]: record["group"] for record in records} == wanted


def test_where_sessions_are_users_there_are_no_groups(tmp_path):
    ready = loaded(prepared(tmp_path))
    assert all(not batch.users for batch in ready.test)


def test_where_a_row_of_a_window_has_ended_nothing_is_trained_on(tmp_path):
    """Place -1 is no click: it has no target, begins no session and is beyond the row's length."""
    train = Clicks(prepared(tmp_path).folder / "train")
    window = train.window(np.array([[0, 3, -1], [1, -1, -1]]))
    assert window.items[:, 0].tolist() == [0, 1]
    assert window.targets.tolist() == [[1, 1, NOTHING], [2, NOTHING, NOTHING]]
    assert window.lengths.tolist() == [2, 1, 0]
    assert window.reset.tolist() == [[True, True, False], [False, False, False]]
