"""Session-parallel mini-batches: many sessions in parallel; when one ends, its row continues with the next.

Source: Hidasi, Karatzoglou, Baltrunas and Tikk, Session-based Recommendations with Recurrent Neural Networks, 2016,
section 3.1.1. A row's state must be reset before the first event of each session: `starts` says where, and
`unroll.recurrence.Recurrent` takes that as its input `reset`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from unroll.sequence.resumable_sampler import EpochSampler, resumable

Positions = NDArray[np.int64]


class SessionParallel(EpochSampler[Positions]):
    """Windows of positions [T, B] into a flat array of events, session after session.

    Position p is the step that reads event p and predicts event p + 1, so a session of n events has n - 1 positions.
    Every epoch concatenates the sessions in a new order and cuts that stream into B rows of equal length: each step
    occurs once per epoch, and the number of windows is always the same. At most B - 1 sessions are cut; their second
    parts start without a state. The last row is padded with -1.

    Args:
        offsets: where each session begins in the flat array, followed by the array's length, [S + 1], increasing.
        rows: B, sessions in parallel.
        steps: T, steps per window; gradients are truncated there.
        seed: for the order, which is a function of (seed, epoch).

    Raises:
        ValueError: offsets that decrease, no session of two events, or rows or steps below one.
    """

    def __init__(self, offsets: ArrayLike, rows: int, steps: int, *, seed: int = 0) -> None:
        bounds = np.asarray(offsets, dtype=np.int64)
        lengths = np.diff(bounds) - 1
        if rows < 1 or steps < 1 or bounds.ndim != 1 or (lengths < -1).any() or not (lengths > 0).any():
            raise ValueError(
                f"expected offsets [S + 1] that increase, a session of 2 events, rows and steps of at least 1, "
                f"got {list(bounds.shape)}, longest session {int(lengths.max(initial=-1)) + 1}, {rows}, {steps}"
            )
        super().__init__(seed)
        keep = lengths > 0
        self._begins, self._lengths = bounds[:-1][keep], lengths[keep]
        self.rows = min(rows, int(self._lengths.sum()))
        self.steps = steps

    def __len__(self) -> int:
        return math.ceil(self._length() / self.steps)

    def batches(self, start: int) -> Iterator[Positions]:
        """The windows of `self.epoch`, starting with number `start`."""
        stream = self._stream()
        for window in range(start, len(self)):
            yield stream[window * self.steps : (window + 1) * self.steps]

    def _length(self) -> int:
        """Steps in a row."""
        return math.ceil(int(self._lengths.sum()) / self.rows)

    def _stream(self) -> Positions:
        """All positions of the epoch, [steps in a row, rows]."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self._begins))
        positions = ranges(self._begins[order], self._lengths[order])
        table = np.full(self._length() * self.rows, -1, dtype=np.int64)
        table[: len(positions)] = positions
        return np.ascontiguousarray(table.reshape(self.rows, -1).T)


def ranges(begins: Positions, lengths: Positions) -> Positions:
    """begins[0], begins[0] + 1, ... (lengths[0] of them), then those of begins[1], and so on, without a loop."""
    ends = np.cumsum(lengths)
    positions: Positions = np.repeat(begins - (ends - lengths), lengths)
    return positions + np.arange(len(positions))


def starts(offsets: ArrayLike) -> NDArray[np.bool_]:
    """Which events of the flat array start a session, where a row's state is reset, [E]."""
    bounds = np.asarray(offsets, dtype=np.int64)
    first = np.zeros(int(bounds[-1]) + 1, dtype=np.bool_)  # an empty session begins where the next one does
    first[bounds[:-1]] = True
    return first[:-1]


def loader(
    batch: Callable[[Positions], Any], offsets: ArrayLike, rows: int, steps: int, *, seed: int = 0
) -> "StatefulDataLoader[Any]":
    """A loader of `SessionParallel` windows, each turned into a batch by `batch`; it resumes exactly in mid-epoch."""
    sampler = SessionParallel(offsets, rows, steps, seed=seed)
    return resumable(_Windows(batch), sampler, _as_it_is, seed=seed)


class _Windows(Dataset[Any]):
    """Fetches whole windows at once (`__getitems__`): one lookup per event would be slower than the network."""

    def __init__(self, batch: Callable[[Positions], Any]) -> None:
        self.batch = batch

    def __getitems__(self, positions: Positions) -> Any:
        return self.batch(positions)


def _as_it_is(batch: Any) -> Any:
    return batch
