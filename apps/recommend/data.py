"""From prepared sessions to batches. What is prepared, and how: see `preparation`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unroll.app import Data
from unroll.data.arrays import read_arrays
from unroll.data.files import read_json
from unroll.data.source import SPLITS
from unroll.data.store import Prepared
from unroll.sequence import batching, sessions

FACTS = "facts.json"
"""of a prepared set; beside it, a folder of arrays for each split"""
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
        prepared: by `preparation.prepare`.
        mode: training batches: "sessions", parallel rows of one session after the other, cut into windows whose state
            is carried; or "padded", whole sessions of similar length.
        rows, steps: B and T of a window; a padded batch has as many steps in all.
        seed: of the order.
    """
    facts = read_json(prepared.folder / FACTS)
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
