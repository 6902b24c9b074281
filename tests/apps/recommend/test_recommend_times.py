"""Columns of times: types, units and the places where one unit ends and the next begins."""

from datetime import UTC, date, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from unroll.apps.recommend.sources import times
from unroll.apps.recommend.sources.times import Times, read, refuse_axis, refuse_others, shown
from unroll.errors import UserError

NAN = float("nan")


def seconds(*of: int) -> float:
    return datetime(*of, tzinfo=UTC).timestamp()


def column(values, kind=None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.int32()])
def test_numbers_are_seconds_whatever_holds_them(kind):
    found = read(column([1_700_000_000, None, 1_700_000_100], kind))
    assert found.seconds.tolist()[::2] == [1_700_000_000.0, 1_700_000_100.0] and np.isnan(found.seconds[1])
    assert found.unit == "seconds since 1970" and found.local is None


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_time_stamps_have_a_unit_of_their_own(unit, ticks):
    found = read(column([5 * ticks, 7 * ticks + ticks // 2], pa.timestamp(unit)))
    assert found.seconds.tolist() == [5.0, 7.5 if ticks > 1 else 7.0] and found.unit == "" and found.local is None
    days = read(column([date(1970, 1, 2), date(1970, 1, 4)]))
    assert days.seconds.tolist() == [86400.0, 3 * 86400.0] and days.unit == ""


@pytest.mark.parametrize(
    ("middle", "unit", "many"),
    [
        (1e11 - 1, "seconds", 1.0), (1e11, "milliseconds", 1e3), (1e14 - 1, "milliseconds", 1e3),
        (1e14, "microseconds", 1e6), (1e17 - 100, "microseconds", 1e6), (1e17, "nanoseconds", 1e9),
        (-1e11, "milliseconds", 1e3), (0.0, "seconds", 1.0), (19_000_100, "seconds", 1.0), (21_001_232, "seconds", 1.0),
    ],
)  # fmt: skip
def test_the_median_decides_the_unit(middle, unit, many):
    found = read(column([middle / 3, middle, middle * 3]))
    assert found.unit == f"{unit} since 1970"
    assert found.seconds.tolist() == pytest.approx([middle / 3 / many, middle / many, middle * 3 / many])


@pytest.mark.parametrize(
    ("numbers", "dates"),
    [
        ([19_000_101] * 3, [(1900, 1, 1)] * 3),
        ([21_001_231] * 3, [(2100, 12, 31)] * 3),
        ([20_240_531, 20_240_229, 20_240_601], [(2024, 5, 31), (2024, 2, 29), (2024, 6, 1)]),
        ([20_240_531, 20_240_631, 20_240_601], [(2024, 5, 31), None, (2024, 6, 1)]),
    ],
)
def test_days_are_numbers_too(numbers, dates):
    found = read(column(numbers, pa.int64()))
    wanted = [NAN if day is None else seconds(*day) for day in dates]
    assert found.unit == "days, yyyymmdd" and found.seconds.tolist() == pytest.approx(wanted, nan_ok=True)
    texts = read(column([*map(str, numbers), None]))
    assert texts.seconds.tolist() == pytest.approx([*wanted, NAN], nan_ok=True)


def test_numbers_with_fractions_are_no_days():
    assert read(column([20_240_531.0, 20_240_531.5, 20_240_601.0])).unit == "seconds since 1970"
    assert read(column([None, None], pa.float64())).unit == "seconds since 1970"


def test_texts_are_dates_or_numbers_and_say_their_zone_or_not():
    texts = [
        "2024-05-31T10:00:00Z", " 2024-05-31 10:00:00 UTC ", "2024-05-31 10:00:00 GMT", "2024-05-31T12:00:00+02:00",
        "2024-05-31T12:00:00+0200", "2024-05-31 10:00:00", "2024-05-31", "1717149600", "-5", "tomorrow", None,
    ]  # fmt: skip
    found = read(column(texts))
    ten = seconds(2024, 5, 31, 10)
    assert found.seconds[:6].tolist() == [ten] * 6 and found.seconds[6] == seconds(2024, 5, 31)
    assert found.seconds[7:9].tolist() == [1_717_149_600.0, -5.0] and np.isnan(found.seconds[9:]).all()
    assert found.local is not None
    assert found.local.tolist() == [False] * 5 + [True] * 2 + [False] * 2 + [True, False]
    assert found.unit == "seconds since 1970" and read(column(texts[:7])).unit == ""


def test_a_date_that_ends_like_a_zone_has_none():
    found = read(column(["2024-05-31", "2024-05-30"]))
    assert found.local is not None and found.local.all()


def loaded(*values) -> SimpleNamespace:
    return SimpleNamespace(
        table={"time": pa.chunked_array([pa.array(values)])}, where=lambda index: f"log.csv, row {index + 2}",
        called=lambda ours: "when", file=SimpleNamespace(number=lambda index: index + 2),
    )  # fmt: skip


def axis(*values: float, unit: str = "") -> None:
    refuse_axis(Times(np.array(values, dtype=np.float64), unit), loaded(*values))


def test_a_log_lies_between_1970_and_2100_and_spans_a_minute():
    axis(0.0, 60.0)
    axis(times.LATEST - 61, times.LATEST - 1)
    with pytest.raises(UserError, match=r"row 3: its when '-0.5' would be 1969-12-31 23:59:59, not from 1970 to 2100"):
        axis(100.0, -0.5)
    with pytest.raises(UserError, match=r"would be 2100-01-01 00:00:00 \(read as seconds since 1970\), not from 1970"):
        axis(0.0, times.LATEST, unit="seconds since 1970")
    with pytest.raises(
        UserError, match=r"row 2: its when '100.0' would be 1970-01-01 00:01:40, and all times lie within"
    ):
        axis(100.0, 159.0)


def test_the_first_value_that_is_no_time_is_named():
    with pytest.raises(UserError, match=r"^log.csv, row 3: its when 'x' is no time; write seconds since 1970 or 2024"):
        refuse_others(Times(np.array([1.0, NAN, NAN]), ""), loaded("1", "x", "y"))
    with pytest.raises(UserError, match=r"row 2: its when '' is no time"):
        refuse_others(Times(np.array([np.inf]), ""), loaded(None))


@pytest.mark.parametrize("local", [None, [True, True, True], [False, False, False]])
def test_times_of_one_clock_are_taken(local):
    refuse_others(Times(np.arange(3.0), "", None if local is None else np.array(local)), loaded("a", "b", "c"))


def test_times_of_two_clocks_are_refused():
    said = r"row 4: its when 'c' has no time zone, and 'a' in row 2 has one; write all times in one way"
    with pytest.raises(UserError, match=said):
        refuse_others(Times(np.arange(3.0), "", np.array([False, False, True])), loaded("a", "b", "c"))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "1970-01-01 00:00:00"), (-31_556_952.0 * 4000, "the year -2,030"), (3.2e11, "the year 12,110")],
)
def test_times_for_people(value, said):
    assert shown(value) == said
