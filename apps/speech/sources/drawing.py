"""Splits for a table that has none: whole speakers are held out if there are enough of them, otherwise recordings.

A recording and its copies stay together, and a recording that is the only one with some character stays in train:
otherwise the model could not learn to write it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unroll.data.source import Split, by_hash
from unroll.errors import few
from unroll.sequence.text import Units, split

SHARE = 0.1
"""fraction of the recordings of train that become val, and as many test, if there is no such split"""
FEWEST = 5
"""speakers, at least, of whom some can be held out: then each has about a fifth of the recordings"""
LARGEST = 0.25
"""largest fraction of the recordings that a held-out speaker may have"""


@dataclass(frozen=True)
class Row:
    """A recording, and what its row says about it."""

    name: str
    """of the audio file, as in the table"""
    path: Path
    text: str
    speaker: str
    split: Split
    digest: str
    """of the audio file"""


class _Draw:
    """Takes groups of rows out of train, in order."""

    def __init__(self, groups: Iterable[list[Row]], units: Units) -> None:
        self.free, self.units = dict(enumerate(groups)), units
        self.counts = Counter(symbol for group in self.free.values() for row in group for symbol in self._symbols(row))
        self.splits: dict[Row, Split] = {}
        self.kept: dict[Row, None] = {}
        """rows that were drawn, but must stay in train"""

    def fill(self, name: Split, wanted: int, largest: float) -> None:
        """Take groups up to the `largest` size until the split has enough rows: whole groups first, then parts."""
        for whole in (True, False):
            for number, group in list(self.free.items()):
                if wanted <= 0:
                    return
                if len(group) > largest:
                    continue
                leaving, gone = self._leaving(group)
                if whole and 1 < len(group) != len(leaving):
                    continue
                self.kept |= dict.fromkeys(row for row in group if row not in {*leaving})
                if leaving:
                    self.splits |= dict.fromkeys(leaving, name)
                    self.counts.subtract(gone)
                    wanted -= len(leaving)
                    del self.free[number]

    def fill_anyhow(self, names: Sequence[Split]) -> None:
        """Give each empty split one row, whatever train then lacks: with so few rows nothing better is possible."""
        rows = (row for group in self.free.values() for row in sorted(group, key=_rank))
        for name, row in zip((name for name in names if name not in self.splits.values()), rows, strict=False):
            self.splits[row] = name
            self.kept.pop(row, None)

    def _leaving(self, group: Sequence[Row]) -> tuple[list[Row], Counter[str]]:
        """(the rows of a group that can leave train without taking a symbol's last occurrence, their symbols)."""
        leaving, gone = [], Counter[str]()
        for row in group:
            symbols = self._symbols(row)
            if all(self.counts[symbol] - gone[symbol] > 1 for symbol in symbols):
                leaving.append(row)
                gone.update(symbols)
        return leaving, gone

    def _symbols(self, row: Row) -> set[str]:
        return set(split(row.text, self.units))


def drawn(rows: Sequence[Row], units: Units) -> tuple[list[Row], tuple[str, ...]]:
    """(the rows, with the missing splits drawn from train; notes for the user).

    Args:
        rows: each in its split; those without one are in train.
        units: of the symbols.
    """
    held_out: tuple[Split, ...] = ("test", "val")
    missing = [name for name in held_out if all(row.split != name for row in rows)]
    pool = [row for row in rows if row.split == "train"]
    if not missing or not pool:
        return list(rows), ()
    speakers = {row.speaker for row in pool if row.speaker}
    apart = len(speakers) >= FEWEST
    draw = _draw(pool, missing, units, by_speaker=apart)
    if apart and {*draw.splits.values()} != {*missing}:
        draw, apart = _draw(pool, missing, units, by_speaker=False), False
    draw.fill_anyhow(missing)
    found = [replace(row, split=draw.splits.get(row, row.split)) for row in rows]
    return found, (_said(draw, missing, len(speakers), apart), *_kept_note(draw))


def _draw(pool: Sequence[Row], missing: Sequence[Split], units: Units, *, by_speaker: bool) -> _Draw:
    groups: dict[str, list[Row]] = {}
    for row in pool:
        groups.setdefault((by_speaker and row.speaker) or row.digest, []).append(row)
    ranked = sorted(groups.values(), key=lambda group: min(_rank(row, by_speaker) for row in group))
    draw = _Draw(ranked, units)
    for name in missing:
        draw.fill(name, max(1, round(SHARE * len(pool))), max(1, LARGEST * len(pool)))
    return draw


def _rank(row: Row, by_speaker: bool = False) -> bytes:
    return by_hash((by_speaker and row.speaker) or row.name)


def _said(draw: _Draw, missing: Sequence[Split], speakers: int, apart: bool) -> str:
    counts = Counter(draw.splits.values())
    said = " and ".join(f"{name} ({counts[name]:,})" for name in reversed(missing)) + " drawn from train"
    if apart:
        heard = {row.speaker for row in draw.splits if row.speaker}
        return f"{said}: all recordings of {len(heard):,} of {speakers:,} speakers"
    if speakers:
        return f"{said}: of {speakers:,} speakers none can be held out, so those of val and test are heard in train"
    return said


def _kept_note(draw: _Draw) -> Iterator[str]:
    if draw.kept:
        names = few([row.name for row in draw.kept])
        one = draw.units.removesuffix("s")
        yield f"drawn, but left in train, the only ones with some {one}: {len(draw.kept):,} recordings: {names}"
