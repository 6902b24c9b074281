"""Sources: the planted process against its own definition, MovieLens formats, and every kind of bad table."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.recommend.sources import builtin, movielens, table
from apps.recommend.sources.builtin import Process
from apps.recommend.sources.features import encode
from core.errors import UserError

ROWS = ["s1,a,100", "s1,b,160", "s2,a,90000", "s2,c,90060"]


def csv(folder, *rows, header="session,item,time", name="log.csv", ends="\n", mark=b""):
    path = folder / name
    path.write_bytes(mark + (ends.join([header, *rows]) + ends).encode())
    return path


def read(path):
    log = table.source(path, None).read()
    return [
        (str(log.sessions[s]), str(log.items[i]), float(t))
        for s, i, t in zip(log.session, log.item, log.time, strict=True)
    ]


WANTED = [("s1", "a", 100), ("s1", "b", 160), ("s2", "a", 90000), ("s2", "c", 90060)]


def test_csv_in_every_clothing(tmp_path):
    assert read(csv(tmp_path, *ROWS)) == WANTED
    assert read(csv(tmp_path, *ROWS, mark=b"\xef\xbb\xbf")) == WANTED
    assert read(csv(tmp_path, *ROWS, ends="\r\n")) == WANTED
    mixed = tmp_path / "mixed.csv"
    mixed.write_bytes(b"session,item,time\r\n" + b"\n".join(r.encode() + b"\r" * (i % 2) for i, r in enumerate(ROWS)))
    assert read(mixed) == WANTED
    swapped = [",".join((t, "x", i, s)) for s, i, t in (row.split(",") for row in ROWS)]
    assert read(csv(tmp_path, *swapped, header="Timestamp,Price,ItemId,Session_ID")) == WANTED
    assert read(csv(tmp_path, *(row.replace(",", ";") for row in ROWS), header="session;item;time")) == WANTED
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(csv(tmp_path, *ROWS).read_bytes()))
    assert read(packed) == WANTED


def test_parquet(tmp_path):
    session, item, time = zip(*(row.split(",") for row in ROWS), strict=True)
    pq.write_table(pa.table({"session": session, "item": item, "time": [int(t) for t in time]}), tmp_path / "l.parquet")
    assert read(tmp_path / "l.parquet") == WANTED


def test_ids_are_names_quoted_or_not(tmp_path):
    rows = ['007,"Empire Strikes Back, The",100', '7,"said ""hi""",160']
    assert read(csv(tmp_path, *rows)) == [("007", "Empire Strikes Back, The", 100), ("7", 'said "hi"', 160)]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1970-01-01T00:01:40Z", "1970-01-02 00:00:00"], [100, 86400]),
        (["1970-01-01 00:01:40", "1970-01-01 00:01:41.500"], [100, 101.5]),
        (["1970-01-02", "1970-01-03"], [86400, 172800]),
        (["1700000000000", "1700000001500"], [1.7e9, 1.7e9 + 1.5]),
        (["100.25", "101"], [100.25, 101]),
        (["100", "1970-01-01T00:01:41"], [100, 101]),
    ],
)
def test_times(tmp_path, times, seconds):
    assert [t for _, _, t in read(csv(tmp_path, *(f"s,a,{time}" for time in times)))] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("session,thing,time", ROWS, r"log\.csv: has no column item; it has: session, thing, time"),
        ("who,item,when", ROWS, r"no column session \(or user\) and no column time; it has: who, item, when"),
        ("session,item,time", ["s,a,100", "s,b,soon"], r"log\.csv, row 3: its time 'soon' is no time; write seconds"),
        ("session,item,time", ["s,a,100", "s,b,"], r"row 3: its time None is no time"),
        ("session,item,time", ["s,a,100", ",b,101"], r"row 3: its session is empty"),
        ("session,item,time", ["s,a,100", "s,,101"], r"row 3: its item is empty"),
        ("session,item,time", ["s,a,100", "s,b"], r"log\.csv: cannot be read \(.*Expected 3 columns, got 2"),
        ("session,item,time", [], r"log\.csv: has no rows"),
    ],
)
def test_a_bad_table_gets_one_line(tmp_path, header, rows, message):
    with pytest.raises(UserError, match=message) as error:
        table.source(csv(tmp_path, *rows, header=header), None).read()
    assert "\n" not in str(error.value)


def test_a_missing_or_foreign_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        table.source(tmp_path / "nowhere.csv", None)
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read"):
        table.source(tmp_path / "x.parquet", None)
    (tmp_path / "latin.csv").write_bytes("session,item,time\ns,caf\xe9,1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv: cannot be read .*UTF8"):
        table.source(tmp_path / "latin.csv", None).read()


def test_items_table(tmp_path):
    rows = ["a,Alpha,x|y,1", "b,,x,3", "c,Gamma,,"]
    items = csv(tmp_path, *rows, header="item,title,kind,price", name="items.csv")
    found = table.source(csv(tmp_path, *ROWS), items).table()
    assert found.items == ["a", "b", "c"] and found.titles == ["Alpha", "b", "Gamma"]
    assert found.features.tolist() == [[0.5, 0.5, -1], [1, 0, 1], [0, 0, 0]]
    with pytest.raises(UserError, match="item 'a' occurs twice"):
        table.source(csv(tmp_path, *ROWS), csv(tmp_path, "a,1", "a,2", header="item,x", name="twice.csv")).table()


def test_histories_of_a_file(tmp_path):
    wanted = [{"session": "s1", "history": ["a", "b"]}, {"session": "s2", "history": ["a", "c"]}]
    assert table.histories(csv(tmp_path, *ROWS)) == wanted
    untimed = csv(tmp_path, *(row.rpartition(",")[0] for row in ROWS), header="session,item")
    assert table.histories(untimed) == wanted
    later = csv(tmp_path, "s1,b,160", "s1,a,100", header="session,item,time")
    assert table.histories(later) == [{"session": "s1", "history": ["a", "b"]}]


def test_features_weigh_alike():
    assert encode({"genre": ["b|a", "a"], "price": np.array([10.0, 30.0])}).tolist() == [[0.5, 0.5, -1], [1, 0, 1]]


def test_movielens_1m_format(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::10::5::100\n1::20::3::200\n2::10::4::50\n")
    (tmp_path / "movies.dat").write_bytes("10::Caf\xe9 (1990)::Drama|War\n20::Up, Down (1991)::War\n".encode("latin-1"))
    source = movielens.ml_1m(tmp_path)
    log, items = source.read(), source.table()
    assert log.sessions[log.session].tolist() == ["1", "1", "2"] and log.items[log.item].tolist() == ["10", "20", "10"]
    assert log.time.tolist() == [100, 200, 50]
    assert items.titles == ["Caf\xe9 (1990)", "Up, Down (1991)"]
    assert items.features.tolist() == [[0.5, 0.5], [0, 1]]
    (tmp_path / "ratings.dat").write_text("1::10::5::100\n1::20::3\n")
    with pytest.raises(UserError, match=r"ratings\.dat, line 2: expected 4 fields divided by ::, got 3"):
        movielens.ml_1m(tmp_path).read()
    (tmp_path / "movies.dat").unlink()
    with pytest.raises(UserError, match=r"movies\.dat: no such file"):
        movielens.ml_1m(tmp_path)
    with pytest.raises(UserError, match="unpack"):
        movielens.ml_1m(None)


@pytest.fixture(scope="module")
def small():
    """A process small enough for the sum over all hidden paths."""
    random = np.random.default_rng(0)
    table = lambda *shape: random.dirichlet(np.ones(shape[-1]), shape[:-1])  # noqa: E731
    return Process(table(3), table(3, 3), table(3, 5))


def test_the_best_ranks_are_those_of_the_sum_over_all_paths(small):
    items = small.sample(30, np.random.default_rng(1))[:, :5]
    ranks = small.best_ranks(items)
    for row, found in zip(items, ranks, strict=True):
        for step in range(1, 5):
            if row[step] < 0:
                assert found[step] == 0
                continue
            probability = [_joint(small, [*row[:step], item]) for item in range(5)]
            assert found[step] == sum(p >= probability[row[step]] for p in probability)


def _joint(process, items):
    from itertools import product

    total = 0.0
    for path in product(range(3), repeat=len(items)):
        p = process.initial[path[0]] * process.emission[path[0], items[0]]
        for before, state, item in zip(path[:-1], path[1:], items[1:], strict=True):
            p *= process.transition[before, state] * process.emission[state, item]
        total += p
    return total


def test_sampling_follows_the_process(small):
    items = small.sample(40_000, np.random.default_rng(2))
    first = np.bincount(items[:, 0], minlength=5) / len(items)
    np.testing.assert_allclose(first, small.initial @ small.emission, atol=0.01)
    second = np.bincount(items[:, 1], minlength=5) / len(items)
    np.testing.assert_allclose(second, small.initial @ small.transition @ small.emission, atol=0.01)


def test_the_builtin_log_is_the_same_for_the_same_seed_and_ranks_only_what_is_held_out():
    first, again, other = (builtin.source(200, seed).read() for seed in (0, 0, 1))
    assert (first.item == again.item).all() and (first.best == again.best).all()
    assert len(other.item) != len(first.item) or (other.item != first.item).any()
    starts = np.append(True, first.session[1:] != first.session[:-1])
    assert ((first.best > 0) == (first.split > 0) & ~starts).all()
