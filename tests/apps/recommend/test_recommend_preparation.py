"""What is prepared from a log: its sessions, its catalogue, its features, and what is left out."""

import pytest

from unroll.apps.recommend import data, preparation
from unroll.apps.recommend.catalogue import Catalogue
from unroll.apps.recommend.data import NOTHING, Clicks
from unroll.apps.recommend.sources import builtin, table
from unroll.data.store import Store
from unroll.errors import UserError

from .conftest import ITEMS, loaded, prepared, shop


def test_sessions_items_and_notes(tmp_path):
    result = loaded(prepared(tmp_path))
    catalogue = Catalogue.from_json(result.facts["catalogue"])
    assert catalogue.names == ("a", "b", "c") and catalogue.counts.tolist() == [10, 10, 10]
    assert result.notes == (
        "its times are read as seconds since 1970: 1970-01-01 00:00:00 to 1970-01-03 00:48:40",
        "test: 10 clicks on items that training does not know are left out",
        "of 3 items 20 are recommended: recall@20 is 1 whatever the model does",
    )
    [batch] = list(data.batches(prepared(tmp_path), mode="padded", rows=100, steps=10, seed=0).test)
    assert batch.names == [f"s{session}" for session in range(20, 30)]
    assert batch.items.tolist() == [[0] * 10] and batch.targets.tolist() == [[1] * 10]


def test_items_that_the_table_lacks_are_said_and_a_table_of_others_is_refused(tmp_path):
    result = loaded(prepared(tmp_path, "item,title\na,Alpha\nc,Gamma"))
    assert result.notes[1] == "data.items lacks 2 of the 4 items of the log: b, z"
    with pytest.raises(UserError, match=r"^data\.items: describes none of the items of the log \(a, b, c, "):
        prepared(tmp_path, "item,title\n1.0,Alpha\n2.0,Gamma")


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
    ready = preparation.prepare(
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
    ready = preparation.prepare(
        Store(tmp_path), builtin.source(1500, 0), protocol=None, days=1.0, support=1, features=False
    )
    result = loaded(ready)
    assert len(Catalogue.from_json(result.facts["catalogue"])) == builtin.ITEMS
    for batch in result.test:
        assert batch.best.gt(0).equal(batch.targets != NOTHING)
    assert Clicks(ready.folder / "train")._columns[:, 3].eq(0).all()
