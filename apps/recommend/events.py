"""Logs of clicks: sorted, cleaned, split by time, and filtered to the items of the training split.

A log is a set of parallel arrays with one element per event; everything here works on whole arrays, so that ten million
events take seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from unroll.data.source import SPLITS
from unroll.errors import UserError

Protocol = Literal["leave-one-out", "time", "given"]
DAY = 86_400.0


@dataclass(frozen=True)
class Log:
    """Events of sessions (or of users: then the events of a user are one session)."""

    session: NDArray[np.int32]
    """number of the session, [E]"""
    item: NDArray[np.int32]
    """number of the item, [E]"""
    time: NDArray[np.float64]
    """seconds since 1970, [E]"""
    sessions: NDArray[np.str_]
    """name of each session"""
    items: NDArray[np.str_]
    """name of each item"""
    split: NDArray[np.int8] | None = None
    """split of each event, for data with given splits"""
    best: NDArray[np.int32] | None = None
    """rank of the event under the best possible predictor, [E], 0 if there is none; built-in data only"""
    notes: tuple[str, ...] = ()
    """what has been left out so far, and why"""
    users: NDArray[np.str_] | None = None
    """user of each session, "" if unknown; None: sessions are users, or the log has no users"""

    def __len__(self) -> int:
        return len(self.session)

    def take(self, index: NDArray[Any], *notes: str) -> Self:
        """The events at an index or mask, in its order."""
        columns = {field: getattr(self, field) for field in ("session", "item", "time", "split", "best")}
        taken = {name: column[index] for name, column in columns.items() if column is not None}
        return replace(self, **taken, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Sessions:
    """The sessions of one split, concatenated."""

    item: NDArray[np.int32]
    """[E]"""
    time: NDArray[np.float64]
    """[E]"""
    target: NDArray[np.bool_]
    """events to be predicted from those before them in their session, [E]"""
    best: NDArray[np.int32]
    """see `Log.best`, [E]"""
    session: NDArray[np.int32]
    """number of the session of each event, increasing, [E]"""

    def take(self, index: NDArray[Any]) -> "Sessions":
        """The events at an index or mask. The first event of a session is never a target: nothing precedes it."""
        taken = Sessions(**{field.name: getattr(self, field.name)[index] for field in fields(self)})
        return replace(taken, target=taken.target & ~firsts(taken.session))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Start of each session, and the number of events at the end."""
        return np.append(np.flatnonzero(firsts(self.session)), len(self.session))

    def with_targets(self) -> "Sessions":
        """Without sessions that have no target."""
        return self.take(np.bincount(self.session, self.target, 1 + self.session.max(initial=0))[self.session] > 0)


def firsts(session: NDArray[Any]) -> NDArray[np.bool_]:
    """Which events are the first of their session, in a sorted log."""
    first = np.ones(len(session), dtype=np.bool_)
    first[1:] = session[1:] != session[:-1]
    return first


def ordered(log: Log) -> Log:
    """Sorted by session and time (a stable sort), with exact duplicates removed."""
    order = np.lexsort((log.time, log.session))
    log = log.take(order)
    if not (again := _duplicates(log)).any():
        return log
    return log.take(~again, f"{again.sum():,} duplicate events (same session, item and time) are counted once")


def _duplicates(log: Log) -> NDArray[np.bool_]:
    """Repeated events of a sorted log: the same session, time and item, not only in adjacent rows."""
    by_item = np.lexsort((log.item, log.time, log.session))
    again = np.zeros(len(log), dtype=np.bool_)
    columns = (log.session[by_item], log.time[by_item], log.item[by_item])
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    again[by_item[1:]] = same
    return again


def rule(protocol: Protocol, days: float) -> str:
    """A description of the split."""
    return {
        "leave-one-out": "the last click of each",
        "time": f"sessions of the last {days:g} days",
        "given": "sessions drawn for each split",
    }[protocol]


def split(log: Log, protocol: Protocol, days: float) -> dict[str, Sessions]:
    """The splits of a log in order.

    Args:
        log: sorted, see `ordered`.
        protocol: "leave-one-out": the last event of each session (a user's history) is the test, the one before it is
            val; "time": the sessions that end in the last `days` are the test, those that end in the `days` before
            them are val, and in each every event but the first is predicted; "given": as the log says.
        days: length of the test period.
    """
    best = np.zeros(len(log), dtype=np.int32) if log.best is None else log.best
    every = Sessions(log.item, log.time, np.ones(len(log), dtype=np.bool_), best, log.session)
    if protocol == "leave-one-out":
        return _leave_one_out(every)
    where = log.split if protocol == "given" and log.split is not None else _by_time(log, days)
    return {name: every.take(where == number) for number, name in enumerate(SPLITS)}


def _leave_one_out(every: Sessions) -> dict[str, Sessions]:
    lengths = np.diff(every.offsets)
    left = np.repeat(every.offsets[1:], lengths) - np.arange(len(every.session))  # 1 at the last event
    return {
        "train": every.take(left > 2),
        "val": replace(every, target=left == 2).take(left > 1),
        "test": replace(every, target=left == 1).take(left > 0),
    }


def _by_time(log: Log, days: float) -> NDArray[np.int8]:
    bounds = np.append(np.flatnonzero(firsts(log.session)), len(log))
    ends = np.repeat(log.time[bounds[1:] - 1], np.diff(bounds))
    last = log.time.max(initial=0.0)
    part: NDArray[np.int8] = (ends > last - 2 * days * DAY).astype(np.int8) + (ends > last - days * DAY)
    return part


def known(splits: dict[str, Sessions], items: int, support: int, cold: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the `items` can be recommended, [N]: those with `support` clicks in training sessions, and cold ones.

    Removing an item shortens sessions, and the click of a session of length one does not count: repeated until nothing
    changes.
    """
    train = splits["train"].with_targets()
    while True:
        kept = np.bincount(train.item, minlength=items) >= max(support, 1)
        if kept[train.item].all():
            return kept | cold
        train = train.take(kept[train.item]).with_targets()


def filtered(splits: dict[str, Sessions], kept: NDArray[np.bool_]) -> tuple[dict[str, Sessions], list[str]]:
    """Each split without unknown items and without sessions that have no target; and notes on both."""
    results, notes = {}, []
    for name, sessions in splits.items():
        unknown = ~kept[sessions.item]
        if lost := int((unknown & sessions.target).sum()):
            notes.append(f"{name}: {lost:,} clicks on items that training does not know are left out")
        rest = sessions.take(~unknown)
        results[name] = rest.with_targets()
        if short := len(rest.offsets) - len(results[name].offsets):
            notes.append(f"{name}: {short:,} sessions of one click are left out, nothing precedes or follows it")
    return results, notes


def check(splits: dict[str, Sessions], after: str, cure: str) -> None:
    """Raise UserError for a split without targets, naming the setting that left it empty."""
    for name in _empty(splits):
        raise UserError(f"the {name} split is empty after {after}; {cure}")


def _empty(splits: dict[str, Sessions]) -> Iterator[str]:
    return (name for name, sessions in splits.items() if not sessions.target.any())
