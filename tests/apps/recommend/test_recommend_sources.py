"""Sources: the planted process against its definition, MovieLens formats, and every kind of bad table."""

import csv as quote
import gzip
import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unroll.apps.recommend.config import PRESETS
from unroll.apps.recommend.sources import builtin, movielens, reading, table
from unroll.apps.recommend.sources.builtin import Process
from unroll.apps.recommend.sources.features import encode
from unroll.data.tables import read_table
from unroll.data.text import STANDARD_INPUT
from unroll.errors import UserError

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


def test_an_id_is_the_same_in_every_kind_of_file(tmp_path):
    """Programs write the whole numbers of a column with a gap as floating-point ones."""
    numbers = {"user": ["u"] * 3, "item": [1.0, 2.0, 3.0], "time": [100, 200, 300]}
    pq.write_table(pa.table(numbers), tmp_path / "log.parquet")
    rows = [dict(zip(numbers, row, strict=True)) for row in zip(*numbers.values(), strict=True)]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pq.write_table(pa.table({"item": [1.0, 2.0], "title": ["a", "b"]}), tmp_path / "items.parquet")
    for name in ("log.parquet", "log.jsonl"):
        source = table.source(tmp_path / name, tmp_path / "items.parquet")
        assert source.read().items.tolist() == ["1", "2", "3"] and source.table().items == ["1", "2"]


def test_two_columns_of_a_name_in_parquet_and_in_a_table_of_items(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["item", "x", "x"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    items = csv(tmp_path, "a,1,2", header="item,x,x", name="twice.csv")
    for path in (tmp_path / "twice.parquet", items):
        with pytest.raises(UserError, match=r"twice\..*: has 2 columns called x \(columns 2 and 3\)"):
            table.source(csv(tmp_path, *ROWS), path).table()
    log = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["session", "item", "item"])
    pq.write_table(log, tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"log\.parquet: has 2 columns called item \(columns 2 and 3\)"):
        table.source(tmp_path / "log.parquet", None)


def test_ids_are_names_quoted_or_not(tmp_path):
    rows = ['007,"Empire Strikes Back, The",100', '7,"said ""hi""",160']
    assert read(csv(tmp_path, *rows)) == [("007", "Empire Strikes Back, The", 100), ("7", 'said "hi"', 160)]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1970-01-01T00:01:40Z", "1970-01-02 00:00:00 UTC"], [100, 86400]),
        (["1970-01-01 00:01:40", "1970-01-01 00:02:41.500"], [100, 161.5]),
        (["1970-01-02", "1970-01-03"], [86400, 172800]),
        (["1700000000000", "1700000060500"], [1.7e9, 1.7e9 + 60.5]),
        (["1700000000000000", "1700000060500000"], [1.7e9, 1.7e9 + 60.5]),
        (["1700000000000000000", "1700000060500000000"], [1.7e9, 1.7e9 + 60.5]),
        (["1.7e9", "1.70000006e9"], [1.7e9, 1.7e9 + 60]),
        (["20200101", "20200229"], [1577836800, 1582934400]),
        (["2020-01-01 00:00:00 UTC", "2020-01-01 00:01:00.5 UTC"], [1577836800, 1577836860.5]),
        (["2020-01-01T00:00:00Z", "2020-01-01T02:00:00+01:00"], [1577836800, 1577840400]),
        (["100.25", "171"], [100.25, 171]),
        (["100", "1970-01-01T00:02:41Z"], [100, 161]),
        (["1970-01-01T02:01:40+0200", "1970-01-01 02:02:41+02", "19700101T000241.5Z"], [100, 161, 161.5]),
    ],
)
def test_times(tmp_path, times, seconds):
    assert [t for _, _, t in read(csv(tmp_path, *(f"s,a,{time}" for time in times)))] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (
            "session,thing,time",
            ROWS,
            r"log\.csv: has no column item or item_id or .*; its columns: session, thing, time; name yours, data",
        ),
        (
            "who,item,when",
            ROWS,
            r"no column session or .* or user or .* and no column time or .*; its columns: who, item, when",
        ),
        ("session,item,time", ["s,a,100", "s,b,soon"], r"log\.csv, row 3: its time 'soon' is no time; write seconds"),
        ("session,item,time", ["s,a,100", "s,b,"], r"row 3: its time '' is no time"),
        ("session,item,time", ["s,a,100", "", "s,b,NA"], r"row 4: its time 'NA' is no time"),
        ("session,item,time", ["s,a,20200101", "s,b,20201301"], r"row 3: its time '20201301' is no time"),
        (
            "session,item,time",
            ["s,a,100", "s,b,130"],
            r"row 2: its time '100' would be 1970-01-01 00:01:40 \(read as sec",
        ),
        ("session,item,time", ["s,a,1700000000", "s,b,-5"], r"row 3: its time '-5' would be 1969-12-31 23:59:55"),
        ("session,item,time", ["s,a,1700000000", "s,b,17000000000"], r"row 3: its time '17000000000' would be 2508-"),
        ("session,item,time", ["s,a,17e14", "s,b,17e14"], r"would be 2023-11-14 22:13:20 \(read as microseconds since"),
        (
            "session,item,time",
            ["s,a,2020-01-01", "s,b,3000-01-01"],
            r"row 3: its time .* would be 3000-01-01 00:00:00, not",
        ),
        ("session,item,time", ["s,a,9e17", "s,b,9e19"], r"row 3: its time .* would be 4821-12"),
        (
            "session,item,time",
            ["s,a,2024-05-31T18:30:00+02:00", "", "s,b,2024-05-31 19:00:00"],
            r"log\.csv, row 4: its time '2024-05-31 19:00:00' has no time zone, and '2024-05-31T18:30:00\+02:00' in "
            r"row 2 has one; write all times in one way",
        ),
        (
            "session,item,time",
            ["s,a,2024-05-31", "s,b,2024-06-01T00:00Z"],
            r"row 2: its time '2024-05-31' has no t",
        ),
        ("session,item,time", ["s,a,2024-05-31", "s,b,1717113600"], r"row 2: its time '2024-05-31' has no time zone"),
        (
            "session,item,time",
            ["s,1,100", "", "s,2,180", "s,1.0,190"],
            r"log\.csv, row 5: its item is 1\.0, and that of row 2 is 1; is it the same\? Write it in one way",
        ),
        (
            "user,item,time",
            ["7.0,a,100", "7,b,180"],
            r"log\.csv, row 3: its user is 7, and that of row 2 is 7\.0; is",
        ),
        (
            "session,item,time,item",
            ["s,a,100,b"],
            r"log\.csv: has 2 columns called item \(columns 2 and 4\); rename",
        ),
        ("user,item,time,user", ["s,a,100,b"], r"log\.csv: has 2 columns called user \(columns 1 and 4\)"),
        ("session,item,time", ["s,a,100", ",b,101"], r"row 3: its session is empty"),
        ("session,item,time", ["s,a,100", "s,,101"], r"row 3: its item is empty"),
        ("session,item,time", ["s,a,100", "", "s,b"], r"log\.csv, row 4 has 2 values for 3 columns; correct it"),
        ("session,item,time", ['"s",a,100', "s,b,101,c"], r"log\.csv, row 3 has 4 values for 3 columns; is a comma"),
        ("session,item,time", ["s,a,100", 's,"b,101'], r"log\.csv, row 3: a quotation mark opens here and does not"),
        ("session,item,time", ['"s,a,100', "t,b,200", 'u",c,300'], r"row 2: a quotation mark opens here and closes 2"),
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
    with pytest.raises(UserError, match=r"latin\.csv, line 2, byte 23: is not UTF-8 text"):
        table.source(tmp_path / "latin.csv", None).read()


def test_items_table(tmp_path):
    rows = ["a,Alpha,x|y,1", "b,,x,3", "c,Gamma,,"]
    items = csv(tmp_path, *rows, header="item,title,kind,price", name="items.csv")
    found = table.source(csv(tmp_path, *ROWS), items).table()
    assert found.items == ["a", "b", "c"] and found.titles == ["Alpha", "b", "Gamma"]
    assert found.features.tolist() == [[0.5, 0.5, -1], [1, 0, 1], [0, 0, 0]]
    with pytest.raises(UserError, match="item 'a' occurs twice"):
        table.source(csv(tmp_path, *ROWS), csv(tmp_path, "a,1", "a,2", header="item,x", name="twice.csv")).table()


def test_line_ends_and_encodings(tmp_path):
    assert read(csv(tmp_path, *ROWS, ends="\r")) == WANTED
    text = csv(tmp_path, *ROWS).read_text()
    for encoding in ("utf-16", "utf-8-sig"):
        path = tmp_path / "wide.csv"
        path.write_bytes(text.encode(encoding))
        assert read(path) == WANTED
    tabs = tmp_path / "log.tsv"
    tabs.write_text(text.replace(",", "\t").replace("a\t", '"a\t'))
    assert read(tabs)[0] == ("s1", '"a', 100)


def test_json_lines(tmp_path):
    rows = [dict(zip(("visit_id", "sku", "ts"), row.split(","), strict=True)) for row in ROWS]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert read(path) == WANTED


@pytest.mark.parametrize("name", ["NA", "null", "None", "nan", "", "#N/A"])
def test_an_item_called_not_available_keeps_its_title_and_features(tmp_path, name):
    if not name:
        with pytest.raises(UserError, match="row 2: its item is empty"):
            read(csv(tmp_path, "s,,100", "s,b,200"))
        return
    assert read(csv(tmp_path, f"s,{name},100", "s,b,200"))[0] == ("s", name, 100)
    items = csv(tmp_path, f"{name},{name},{name},1", "b,Title,x,NA", header="item,title,kind,price", name="items.csv")
    found = table.source(csv(tmp_path, *ROWS), items).table()
    assert (found.items, found.titles) == ([name, "b"], [name, "Title"])
    assert sorted(found.features[:, :2].tolist()) == [[0, 1], [1, 0]]  # each a kind of its own
    assert found.features[:, 2].tolist() == [0, 0]  # one price, and one that is not known


def test_blanks_around_an_id_are_no_part_of_it(tmp_path):
    assert read(csv(tmp_path, "s, a,100", "s,a ,200", "s,b,300")) == [("s", "a", 100), ("s", "a", 200), ("s", "b", 300)]


def test_movielens_and_shops_columns(tmp_path):
    ratings = csv(tmp_path, "1,31,2.5,1260759144", "1,1029,3.0,1260759204", header="userId,movieId,rating,timestamp")
    movies = csv(
        tmp_path, '31,"Up, Down (1995)",Drama|War', "7,x,War", header="movieId,title,genres", name="movies.csv"
    )
    source = table.source(ratings, movies)
    assert source.protocol == "leave-one-out" and len(source.read()) == 2
    assert source.table().titles == ["Up, Down (1995)", "x"]
    assert source.table().features.tolist() == [[0.5, 0.5], [0, 1]]
    header = "event_time,event_type,product_id,price,user_id,user_session"
    rows = [f"2019-10-01 00:0{n}:00 UTC,view,{n},9.5,u,s{n % 2}" for n in range(4)]
    shop = table.source(csv(tmp_path, *rows, header=header), None)
    assert shop.protocol == "time"
    assert read(csv(tmp_path, *rows, header=header))[1] == ("s1", "1", 1569888060)


def test_any_other_columns_by_a_setting(tmp_path):
    path = csv(tmp_path, *ROWS, header="who,what,when")
    named = {"user": "who", "item": "what", "time": "When", "title": ""}
    source = table.source(path, csv(tmp_path, "a,1", header="what,x", name="items.csv"), named)
    assert source.protocol == "leave-one-out" and source.table().items == ["a"]
    assert len(source.read()) == 4
    with pytest.raises(UserError, match="has no column whom; its columns: who, what, when"):
        table.source(path, None, named | {"user": "whom"})
    config = PRESETS["smoke"].override(["data.columns.item=what"])
    assert config.data.columns.item == "what"


def test_how_times_were_read_is_noted_where_it_is_not_seconds(tmp_path):
    path = csv(tmp_path, "s,a,1700000000000", "s,b,1700000060000")
    (note,) = table.source(path, None).read().notes
    assert note == "its times are read as milliseconds since 1970: 2023-11-14 22:13:20 to 2023-11-14 22:14:20"
    assert table.source(csv(tmp_path, "s,a,1700000000", "s,b,1700000060"), None).read().notes == ()
    (minutes,) = table.source(csv(tmp_path, "s,a,28333333", "s,b,28333433"), None).read().notes
    assert minutes == "its times are read as seconds since 1970: 1970-11-24 22:22:13 to 1970-11-24 22:23:53"


@given(
    values=st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc"]), min_size=1), min_size=3, max_size=3),
        min_size=1, max_size=5,
    ),
    mark=st.sampled_from(",;\t"),
    quoting=st.sampled_from([quote.QUOTE_ALL, quote.QUOTE_MINIMAL]),
)  # fmt: skip
@settings(max_examples=50)
def test_the_fast_reader_reads_what_the_exact_one_reads(tmp_path, values, mark, quoting):
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        quote.writer(file, delimiter=mark, quoting=quoting).writerows([["session", "item", "x"], *values])
    fast, exact = reading.opened(path), read_table(path)
    assert fast.columns == exact.columns
    loaded = fast.load({"session": 0, "item": 1})
    assert list(zip(*(loaded.table[name].to_pylist() for name in ("session", "item")), strict=True)) == [
        tuple(row.values[:2]) for row in exact.rows
    ]
    assert [loaded.where(index) for index in range(len(values))] == [exact.where(row) for row in exact.rows]


def test_histories_of_a_file(tmp_path, monkeypatch):
    wanted = [{"session": "s1", "history": ["a", "b"]}, {"session": "s2", "history": ["a", "c"]}]
    assert table.histories(csv(tmp_path, *ROWS)) == wanted
    untimed = csv(tmp_path, *(row.rpartition(",")[0] for row in ROWS), header="session,item")
    assert table.histories(untimed) == wanted
    packed = gzip.compress(csv(tmp_path, *ROWS).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert table.histories(STANDARD_INPUT) == wanted
    later = csv(tmp_path, "s1,b,160", "s1,a,100", header="session,item,time")
    assert table.histories(later) == [{"session": "s1", "history": ["a", "b"]}]


def test_features_weigh_alike():
    assert encode({"genre": ["b|a", "a"], "price": np.array([10.0, 30.0])}).tolist() == [[0.5, 0.5, -1], [1, 0, 1]]


def test_movielens_1m_format(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::10::5::100\n1::20::3::200\n2::10::4::50\n")
    (tmp_path / "movies.dat").write_bytes(
        "10::Caf\xe9 (1990)::Drama|War\n20::Up,\x85Down (1991)::War\n".encode("latin-1")
    )
    source = movielens.ml_1m(tmp_path)
    log, items = source.read(), source.table()
    assert log.sessions[log.session].tolist() == ["1", "1", "2"] and log.items[log.item].tolist() == ["10", "20", "10"]
    assert log.time.tolist() == [100, 200, 50]
    assert items.titles == ["Caf\xe9 (1990)", "Up,\x85Down (1991)"]
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
