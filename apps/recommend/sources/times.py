"""Times in logs: numbers in several units, days as 20240531, ISO 8601; a whole column is read in the same way.

The unit of a column of numbers follows from the median: current seconds have ten digits, nanoseconds nineteen. In the
wrong unit a log would span a few seconds or end in the year 50,000, which `refuse_axis` rejects.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from unroll.errors import UserError

from .reading import Loaded

UNITS = (("nanoseconds", 1e9, 1e17), ("microseconds", 1e6, 1e14), ("milliseconds", 1e3, 1e11), ("seconds", 1.0, 0.0))
"""(unit, number per second, smallest median): as seconds that would be after the year 5138, in the other units 1973"""
DAYS = (19_000_101, 21_001_231)
"""range of numbers that are read as days; as seconds they would be in August 1970"""
TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""units of Arrow's timestamps per second"""
LATEST = 4_102_444_800.0
"""2100-01-01"""
EARLIEST = 631_152_000.0
"""1990-01-01: a log that ends before counts from its own beginning, or counts minutes or days"""
SHORTEST = 60.0
"""minimum span of a log, in seconds"""
ZONES = r"\s*(UTC|GMT)$"
ZONED = r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"
"""how a date with a time of day ends that says its time zone"""
Seconds = NDArray[np.float64]


class Times(NamedTuple):
    """A column of times."""

    seconds: Seconds
    """since 1970, [E]; NaN for invalid values"""
    unit: str
    """how numbers were read; "" without numbers"""
    local: NDArray[np.bool_] | None = None
    """true for values without a time zone; None: not determined, all are written in the same way"""


def read(column: pa.ChunkedArray) -> Times:
    """The times of a column of numbers, dates or text; in text, numbers and dates with time zones may be mixed."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        counts = column.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy()
        return Times(counts / TICKS[column.type.unit], "")
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _from_numbers(column.cast(pa.float64(), safe=False).to_numpy())
    return _from_text(column)


def refuse_others(times: Times, loaded: Loaded) -> None:
    """Raise UserError for the first value of the time column that is not a time, or has a time zone unlike others."""
    if (bad := np.flatnonzero(~np.isfinite(times.seconds))).size:
        raise UserError(f"{_example(loaded, bad[0])} is no time; write seconds since 1970 or 2024-05-31 18:30:00")
    if times.local is not None and times.local.any() and not times.local.all():
        zoned, local = (int(np.flatnonzero(these)[0]) for these in (~times.local, times.local))
        raise UserError(
            f"{_example(loaded, local)} has no time zone, and {_value(loaded, zoned)} in row "
            f"{loaded.file.number(zoned)} has one; write all times in one way"
        )


def refuse_axis(times: Times, loaded: Loaded) -> None:
    """Raise UserError for implausible times: before 1970, after 2100, or all within a minute."""
    seconds, how = times.seconds, f" (read as {times.unit})" if times.unit else ""
    if (bad := np.flatnonzero((seconds < 0) | (seconds >= LATEST))).size:
        when = shown(float(seconds[bad[0]]))
        raise UserError(f"{_example(loaded, bad[0])} would be {when}{how}, not from 1970 to 2100; correct the times")
    if (span := float(np.ptp(seconds))) < SHORTEST:
        when = shown(float(seconds[0]))
        raise UserError(
            f"{_example(loaded, 0)} would be {when}{how}, and all times lie within {span:g} seconds; correct the "
            "times, or their unit"
        )


def _example(loaded: Loaded, index: int) -> str:
    return f"{loaded.where(int(index))}: its {loaded.called('time')} {_value(loaded, index)}"


def _value(loaded: Loaded, index: int) -> str:
    value = loaded.table["time"][int(index)].as_py()
    return repr("" if value is None else str(value))


def shown(seconds: float) -> str:
    """A human-readable time."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"the year {1970 + seconds / 31_556_952:,.0f}"


def _from_numbers(numbers: Seconds) -> Times:
    finite = numbers[np.isfinite(numbers)]
    middle = float(np.median(finite)) if len(finite) else 0.0
    if DAYS[0] <= middle <= DAYS[1] and (finite == np.floor(finite)).all():
        return Times(_from_days(numbers), "days, yyyymmdd")
    unit, many = next((unit, many) for unit, many, least in UNITS if abs(middle) >= least)
    return Times(numbers / many, f"{unit} since 1970")


def _from_days(numbers: Seconds) -> Seconds:
    found, places = np.unique(numbers, return_inverse=True)
    texts = pd.Series([f"{number:.0f}" if np.isfinite(number) else "" for number in found])
    dates = pd.to_datetime(texts, format="%Y%m%d", errors="coerce", utc=True)
    return _since_1970(dates)[places]


def _from_text(column: pa.ChunkedArray) -> Times:
    encoded = column.cast(pa.string()).dictionary_encode().unify_dictionaries().combine_chunks()
    texts = pd.Series(encoded.dictionary.to_pylist(), dtype=object).str.strip().str.replace(ZONES, "Z", regex=True)
    written = texts.where(texts.str.match(r"\d{4}"), None)  # pandas raises on negative years
    dates = _since_1970(pd.to_datetime(written, errors="coerce", utc=True, format="ISO8601"))
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    local = np.isnan(numbers) & ~texts.str.contains("[:T].*" + ZONED, regex=True).to_numpy(np.bool_)
    places = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    numbers, dates = (np.append(values, np.nan)[places] for values in (numbers, dates))
    local = np.append(local, False)[places]
    if np.isnan(numbers).all():
        return Times(dates, "", local)
    times = _from_numbers(numbers)
    return Times(np.where(np.isnan(numbers), dates, times.seconds), times.unit, local)


def _since_1970(dates: Any) -> Seconds:
    since: Seconds = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)
    return since
