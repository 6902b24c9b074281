"""Logs: order, duplicates, splits that do not leak, support."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from unroll.apps.recommend import events
from unroll.apps.recommend.events import DAY, Log, check, filtered, known, ordered, split
from unroll.errors import UserError


def log(rows):
    """From (session, item, day) triples of small numbers."""
    session, item, time = (np.array(column) for column in zip(*rows, strict=True))
    sessions, items = (np.arange(column.max() + 1).astype(str) for column in (session, item))
    return ordered(Log(session.astype(np.int32), item.astype(np.int32), time * DAY, sessions, items))


def contents(sessions):
    """[(items, targets)] of each session."""
    bounds = sessions.offsets
    return [
        (sessions.item[a:b].tolist(), sessions.item[a:b][sessions.target[a:b]].tolist()) for a, b in pairwise(bounds)
    ]


def test_events_are_put_in_order_and_duplicates_count_once():
    result = log([(1, 2, 3.0), (0, 1, 2.0), (0, 3, 1.0), (1, 2, 3.0), (1, 5, 3.0), (1, 2, 3.0)])
    assert result.session.tolist() == [0, 0, 1, 1]
    assert result.item.tolist() == [3, 1, 2, 5]
    assert result.notes == ("2 duplicate events (same session, item and time) are counted once",)


def test_leave_one_out():
    splits = split(log([(0, i, i) for i in range(5)] + [(1, 7, 0), (1, 8, 1)]), "leave-one-out", 1.0)
    splits, _ = filtered(splits, np.ones(9, dtype=bool))
    assert contents(splits["train"]) == [([0, 1, 2], [1, 2])]
    assert contents(splits["val"]) == [([0, 1, 2, 3], [3])]
    assert contents(splits["test"]) == [([0, 1, 2, 3, 4], [4]), ([7, 8], [8])]


def test_by_time_a_session_belongs_where_it_ends():
    rows = [(0, 1, 1.0), (0, 2, 1.1), (1, 1, 7.9), (1, 2, 8.6), (2, 1, 8.9), (2, 2, 9.5), (2, 1, 10.0)]
    splits = split(log(rows), "time", 1.0)
    assert [contents(splits[name]) for name in events.SPLITS] == [
        [([1, 2], [2])], [([1, 2], [2])], [([1, 2, 1], [2, 1])],
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", ["time", "leave-one-out"])
def test_nothing_of_the_test_is_in_training(protocol):
    random = np.random.default_rng(0)
    session = random.integers(0, 60, 900)
    time = session / 2 + 3 * random.random(900)  # a session lasts up to three days, two begin every day
    whole = log(zip(session, random.integers(0, 40, 900), time, strict=True))
    splits = split(whole, protocol, 3.0)
    splits, _ = filtered(splits, known(splits, 40, 5, np.zeros(40, dtype=bool)))
    train = splits["train"]
    predicted = {(s, t) for s, t in zip(*_targets(splits["test"]), strict=True)}
    assert predicted and not predicted & set(zip(train.session.tolist(), train.time.tolist(), strict=True))
    if protocol == "time":
        assert not set(train.session.tolist()) & set(splits["test"].session.tolist())
        assert train.time.max() < splits["test"].time[np.flatnonzero(events.firsts(splits["test"].session))].max()
    assert set(splits["test"].item.tolist()) <= set(train.item.tolist())


def _targets(sessions):
    return sessions.session[sessions.target].tolist(), sessions.time[sessions.target].tolist()


def test_support_is_counted_until_nothing_changes():
    # Item 9 is rare; without it session 2 has one click, without which item 3 is rare too.
    rows = [(0, 1, 0), (0, 2, 1), (1, 2, 0), (1, 1, 1), (2, 3, 0), (2, 9, 1), (3, 3, 0), (3, 1, 1), (3, 2, 2)]
    train = split(replace(log(rows), split=np.zeros(len(rows), dtype=np.int8)), "given", 1.0)
    kept = known(train, 10, 2, np.zeros(10, dtype=bool))
    assert np.flatnonzero(kept).tolist() == [1, 2]


def test_an_empty_split_names_its_filter():
    rows = [(s, i, s) for s in range(12) for i in (s, s + 1)]
    splits = split(log(rows), "time", 2.0)
    splits, notes = filtered(splits, known(splits, 13, 3, np.zeros(13, dtype=bool)))
    assert any("clicks on items that training does not know" in note for note in notes)
    with pytest.raises(UserError, match=r"the train split is empty after data\.support=3; lower it"):
        check(splits, "data.support=3", "lower it")
