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
"""number of buckets for the time since the last click: powers of two of seconds"""
NOTHING = -1
"""target of a step without a prediction"""
Mode = Literal["sessions", "padded"]


class Batch(NamedTuple):
    """Steps that each read a click and predict the next one."""

    items: Tensor
    """[T, B] int64"""
    gaps: Tensor
    """bucket of the time since the previous click, [T, B] int64; 0 for the first of a session"""
    targets: Tensor
    """the next item, [T, B] int64; NOTHING if none is to be predicted"""
    lengths: Tensor
    """number of steps of each row, [B]"""
    reset: Tensor | None
    """true where a session begins, [T, B] bool; None: every row is one whole session"""
    best: Tensor
    """rank of the target under the best possible predictor, [T, B]; 0 if unknown"""
    names: list[str]
    """names of the sessions, [B]; empty in training"""
    users: Sequence[str] = ()
    """users of the sessions, [B], "" if unknown; empty if the log has no users"""


def buckets(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Times between clicks as buckets 1, 2, ... by powers of two; 0 is reserved for unknown ones."""
    found: NDArray[np.int64] = 1 + np.log2(1 + np.maximum(seconds, 0)).astype(np.int64).clip(0, GAPS - 2)
    return found


def gap_bucket(seconds: float | None) -> int:
    """The bucket of one time between clicks; 0 for None and NaN."""
    return 0 if seconds is None or np.isnan(seconds) else int(buckets(np.array(seconds)))


class Clicks(Dataset[tuple[str, Tensor, str | None]]):
    """The prepared sessions of a split. An example is (name, columns of its steps [T, 4], user)."""

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
        """Number of steps of each session."""
        return np.diff(self.offsets) - 1

    def window(self, positions: NDArray[np.int64]) -> Batch:
        """A batch of the steps at positions [T, B]; -1 marks the end of a row."""
        here = torch.from_numpy(positions)
        inside = here >= 0
        items, gaps, targets, best = self._columns[here.clamp(min=0)].unbind(-1)
        reset = self.starts[here.clamp(min=0)] & inside
        return Batch(items, gaps, targets.where(inside, NOTHING), inside.sum(0), reset, best, [])


def collate(examples: list[tuple[str, Tensor, str | None]]) -> Batch:
    """A padded batch of whole sessions, time first."""
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
        mode: training batches: "sessions": parallel rows of consecutive sessions, cut into windows whose state is
            carried; "padded": whole sessions of similar length.
        rows, steps: B and T of a window; a padded batch has B x T steps in total.
        seed: random seed of the order.
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
