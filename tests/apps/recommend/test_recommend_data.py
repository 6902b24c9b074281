"""Preparation and batches: every click where it belongs, titles and features with it, the same for both modes."""

import numpy as np
import pytest
import torch

from unroll.app import load
from unroll.apps.recommend import data
from unroll.apps.recommend.catalogue import Catalogue
from unroll.apps.recommend.data import NOTHING, Clicks, buckets, gap_bucket
from unroll.apps.recommend.sources import builtin, table
from unroll.data.store import Store
from unroll.errors import Notice, UserError
from unroll.training.evaluation import evaluate
from unroll.training.loop import fit

DAY = 86_400


def shop(folder, items=""):
    """Three days of sessions of two and three clicks over items a, b, c; z occurs on the last day only."""
    rows = ["session,item,time"]
    for session in range(30):
        start = session // 10 * DAY + session * 100
        third = "z" if session >= 20 else "c"
        rows += [f"s{session:02},{item},{start + 10 * place}" for place, item in enumerate(["a", "b", third])]
    (folder / "log.csv").write_text("\n".join(rows))
    if items:
        (folder / "items.csv").write_text(items)
    return table.source(folder / "log.csv", folder / "items.csv" if items else None)


def prepared(folder, items="", **options):
    defaults = {"protocol": None, "days": 1.0, "support": 1, "features": False}
    return data.prepare(Store(folder / "store"), shop(folder, items), **{**defaults, **options})


def loaded(ready, **options):
    return data.batches(ready, **{"mode": "sessions", "rows": 4, "steps": 3, "seed": 0, **options})


def test_sessions_items_and_notes(tmp_path):
    result = loaded(prepared(tmp_path))
    catalogue = Catalogue.from_json(result.facts["catalogue"])
    assert catalogue.names == ("a", "b", "c") and catalogue.counts.tolist() == [10, 10, 10]
    assert result.notes == ("test: 10 clicks on items that training does not know are left out",)
    [batch] = list(data.batches(prepared(tmp_path), mode="padded", rows=100, steps=10, seed=0).test)
    assert batch.names == [f"s{session}" for session in range(20, 30)]
    assert batch.items.tolist() == [[0] * 10] and batch.targets.tolist() == [[1] * 10]


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


ITEMS = "item,title,kind\na,Apple,fruit\nb,Bread,food\nc,Corn,food\nz,Plum,fruit\nnever,Pear,fruit\n"


def test_cold_items_are_in_the_catalogue_only_with_features(tmp_path):
    without = Catalogue.from_json(prepared_facts(tmp_path)["catalogue"])
    assert without.titles == ("Apple", "Bread", "Corn") and without.features.shape == (3, 0)
    with_features = Catalogue.from_json(prepared_facts(tmp_path, features=True)["catalogue"])
    assert with_features.titles == ("Apple", "Bread", "Corn", "Pear", "Plum")
    assert with_features.counts.tolist() == [10, 10, 10, 0, 0]
    assert with_features.features.tolist() == [[0, 1], [1, 0], [1, 0], [0, 1], [0, 1]]


def prepared_facts(folder, **options):
    return loaded(prepared(folder, ITEMS, **options)).facts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support": 11}, r"train split is empty after data\.support=11; lower it"),
        ({"days": 5.0}, r"train split is empty after data\.split=time, data\.days=5; it needs a longer log"),
        ({"features": True}, r"data\.features=true: .* set data\.items"),
    ],
)
def test_what_cannot_be_prepared(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, **options)


def test_sessions_of_one_click_are_told(tmp_path):
    source = shop(tmp_path)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("\nlone,a,5\n")
    ready = data.prepare(
        Store(tmp_path / "store"),
        table.source(tmp_path / "log.csv", None),
        protocol=None,
        days=1.0,
        support=1,
        features=False,
    )
    assert source.protocol == "time"
    assert "train: 1 sessions of one click are left out, nothing precedes or follows it" in loaded(ready).notes


def test_builtin_keeps_all_its_items_and_its_optimum(tmp_path):
    ready = data.prepare(Store(tmp_path), builtin.source(1500, 0), protocol=None, days=1.0, support=1, features=False)
    result = loaded(ready)
    assert len(Catalogue.from_json(result.facts["catalogue"])) == builtin.ITEMS
    for batch in result.test:
        assert batch.best.gt(0).equal(batch.targets != NOTHING)
    assert Clicks(ready.folder / "train")._columns[:, 3].eq(0).all()


CATALOGUE = Catalogue(
    ("50", "181", "7"),
    ("Star Wars (1977)", "Empire, The (1980)", "Up"),
    np.array([3, 2, 0]),
    np.ones((3, 2), np.float32),
)


def test_histories_by_name_or_title():
    assert CATALOGUE.parse("50,181") == [0, 1]
    assert CATALOGUE.parse("up, Empire, The (1980), star wars (1977)") == [2, 1, 0]
    assert CATALOGUE.parse('"Empire, The (1980)",7') == [1, 2]
    assert CATALOGUE.parse([50, "Up"]) == [0, 2]
    with pytest.warns(Notice, match="unknown items are passed over: 999, Nemo"):
        assert CATALOGUE.parse("999,50,Nemo") == [0]
    with pytest.raises(UserError, match=r"history '1,2': none of these .* are for example 50, 181, 7"):
        CATALOGUE.parse("1,2")


def test_catalogue_survives_json():
    again = Catalogue.from_json(CATALOGUE.to_json())
    assert (again.names, again.titles) == (CATALOGUE.names, CATALOGUE.titles)
    assert (again.counts == CATALOGUE.counts).all() and (again.features == CATALOGUE.features).all()


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
