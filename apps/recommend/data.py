"""From a log to batches: the splits are prepared once, as flat arrays; batches are cut from there.

A prepared set holds for each split the items, times and sessions of its events, which of them are to be predicted, and
(built-in data) the rank that the best possible predictor gave them; and the catalogue of items.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data.arrays import read_arrays, write_arrays
from unroll.data.files import read_json, write_json
from unroll.data.source import SPLITS
from unroll.data.store import Prepared, Store
from unroll.errors import UserError
from unroll.sequence import batching, sessions

from . import events
from .catalogue import Catalogue
from .events import Log, Protocol, Sessions
from .sources import Source, Table

NAME = "recommend"
GAPS = 32
"""buckets of the time since the last click: powers of two of seconds"""
NOTHING = -1
"""target of a step at which nothing is to be predicted"""
Mode = Literal["sessions", "padded"]


class Batch(NamedTuple):
    """Steps that each read a click and predict the next one."""

    items: Tensor
    """[T, B] int64"""
    gaps: Tensor
    """bucket of the time since the click before, [T, B] int64; 0 for a session's first"""
    targets: Tensor
    """the next item, [T, B] int64; NOTHING where none is to be predicted"""
    lengths: Tensor
    """steps of each row, [B]"""
    reset: Tensor | None
    """where a session begins, [T, B] bool; None: every row is one whole session"""
    best: Tensor
    """rank that the best possible predictor gave to the target, [T, B]; 0 where it is not known"""
    names: list[str]
    """of the sessions, [B]; none in training"""
    users: Sequence[str] = ()
    """whose the sessions are, [B], "" where nobody knows; none where the log does not say"""


def prepare(
    store: Store, source: Source, *, protocol: Protocol | None, days: float, support: int, features: bool
) -> Prepared:
    """Split and filter the log of a source.

    Args:
        store: where it is kept.
        source: of the clicks.
        protocol: how to split; None: as is usual for the source.
        days: see `events.split`.
        support: clicks in training that an item needs to be recommended.
        features: use what the source knows of the items, and so recommend items that training has not seen.

    Raises:
        UserError: as the source; a split with nothing to predict; features that the source does not have.
    """
    protocol = protocol or source.protocol

    def write(folder: Path) -> None:
        log = events.ordered(source.read())
        splits = events.split(log, protocol, days)
        how = f"data.split={protocol}" + (f", data.days={days:g}" if protocol == "time" else "")
        events.check(splits, how, "it needs a longer log, or another split")
        catalogue, kept, numbers = _catalogue(splits, log.items, source.table, support, features)
        splits, notes = events.filtered(splits, kept)
        events.check(splits, f"data.support={support}", "lower it")
        for name, part in splits.items():
            write_arrays(folder / name, _arrays(replace(part, item=numbers[part.item]), log))
        write_json(folder / "facts.json", {"catalogue": catalogue.to_json(), "notes": [*log.notes, *notes]})

    options = {"protocol": protocol, "days": days if protocol == "time" else None, "split": events.rule(protocol, days)}
    return store.prepare(NAME, {**source.spec, **options, "support": support, "features": features}, write)


def _catalogue(
    splits: dict[str, Sessions],
    names: NDArray[np.str_],
    table: Callable[[], Table] | None,
    support: int,
    features: bool,
) -> tuple[Catalogue, NDArray[np.bool_], NDArray[np.int32]]:
    """(catalogue, which items of the log are in it, their numbers there): by clicks in training, then by name."""
    described = table() if table else Table([], [], np.zeros((0, 0), np.float32))
    if features and not described.features.shape[1]:
        raise UserError("data.features=true: the source says nothing of its items; set data.items to a table of them")
    if features:
        names = np.append(names, np.setdiff1d(np.array(described.items, dtype=np.str_), names))
    place = {name: row for row, name in enumerate(described.items)}
    rows = np.array([place.get(name, -1) for name in names.tolist()])
    cold = (rows >= 0) & features
    kept = events.known(splits, len(names), support, cold)
    splits, _ = events.filtered({"train": splits["train"]}, kept)
    counts = np.bincount(splits["train"].item, minlength=len(names))
    order = np.lexsort((names, -counts))
    order = order[kept[order]]
    numbers = np.full(len(names), -1, dtype=np.int32)
    numbers[order] = np.arange(len(order))
    padded = np.concatenate([described.features, np.zeros((1, described.features.shape[1]), np.float32)])
    titles = [described.titles[row] if row >= 0 else str(name) for row, name in zip(rows, names, strict=True)]
    catalogue = Catalogue(
        tuple(names[order].tolist()), tuple(titles[index] for index in order), counts[order],
        padded[rows[order]] if features else np.zeros((len(order), 0), np.float32),
    )  # fmt: skip
    return catalogue, kept, numbers


def _arrays(part: Sessions, log: Log) -> dict[str, NDArray[Any]]:
    first = events.firsts(part.session)
    gaps = np.where(first, 0, buckets(np.diff(part.time, prepend=part.time[:1])))
    own = part.session[part.offsets[:-1]]
    return {
        "items": part.item, "gaps": gaps.astype(np.uint8), "target": part.target, "best": part.best,
        "offsets": part.offsets, "names": log.sessions[own], **({} if log.users is None else {"users": log.users[own]}),
    }  # fmt: skip


def buckets(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Times between clicks as 1, 2, ... by powers of two; 0 is left for what is not known."""
    found: NDArray[np.int64] = 1 + np.log2(1 + np.maximum(seconds, 0)).astype(np.int64).clip(0, GAPS - 2)
    return found


def gap_bucket(seconds: float | None) -> int:
    """The bucket of one time between clicks; of none, or NaN: 0."""
    return 0 if seconds is None or np.isnan(seconds) else int(buckets(np.array(seconds)))


class Clicks(Dataset[tuple[str, Tensor, str | None]]):
    """The sessions of a split, as prepared. An example is (name, columns of its steps [T, 4], user)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        arrays = read_arrays(folder)
        self.items = torch.from_numpy(arrays["items"].astype(np.int64))
        self.offsets: NDArray[np.int64] = np.array(arrays["offsets"])
        self.starts = torch.from_numpy(sessions.starts(self.offsets))
        self._names, self._users = arrays["names"], arrays.get("users")
        following = torch.from_numpy(np.where(arrays["target"], arrays["items"], NOTHING).astype(np.int64))
        gaps, best = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("gaps", "best"))
        self._columns = torch.stack((self.items[:-1], gaps[:-1], following[1:], best[1:]), 1)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[str, Tensor, str | None]:
        user = None if self._users is None else str(self._users[index])
        return str(self._names[index]), self._columns[self.offsets[index] : self.offsets[index + 1] - 1], user

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each session."""
        return np.diff(self.offsets) - 1

    def window(self, positions: NDArray[np.int64]) -> Batch:
        """The steps at positions [T, B], -1 where a row has ended."""
        here = torch.from_numpy(positions)
        inside = here >= 0
        items, gaps, targets, best = self._columns[here.clamp(min=0)].unbind(-1)
        reset = self.starts[here.clamp(min=0)] & inside
        return Batch(items, gaps, targets.where(inside, NOTHING), inside.sum(0), reset, best, [])


def collate(examples: list[tuple[str, Tensor, str | None]]) -> Batch:
    """Whole sessions to a padded batch, time first."""
    names, rows, users = zip(*examples, strict=True)
    padded, lengths = batching.pad(rows, value=NOTHING)
    items, gaps, targets, best = padded.unbind(-1)
    return Batch(
        items.clamp(min=0), gaps.clamp(min=0), targets, lengths, None, best.clamp(min=0), list(names),
        [user for user in users if user is not None],
    )  # fmt: skip


def batches(prepared: Prepared, *, mode: Mode, rows: int, steps: int, seed: int) -> Data[Batch]:
    """Loaders of the three splits.

    Args:
        prepared: by `prepare`.
        mode: training batches: "sessions", parallel rows of one session after the other, cut into windows whose state
            is carried; or "padded", whole sessions of similar length.
        rows, steps: B and T of a window; a padded batch has as many steps in all.
        seed: of the order.
    """
    facts = read_json(prepared.folder / "facts.json")
    splits = {name: Clicks(prepared.folder / name) for name in SPLITS}
    train = splits["train"]
    loaders = {
        name: batching.loader(part, part.lengths, max(rows * steps, 1), collate, seed=seed, shuffle=name == "train")
        for name, part in splits.items()
    }
    if mode == "sessions":
        loaders["train"] = sessions.loader(train.window, train.offsets, rows, steps, seed=seed)
    rule = prepared.spec["split"]
    return Data(**loaders, facts=facts, digest=prepared.digest, split=rule, notes=tuple(facts["notes"]))
