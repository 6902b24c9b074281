"""One long stream of tokens, read in parallel rows, window by window, for truncated backpropagation through time.

The stream is on disk and memory-mapped, so it may be larger than memory. It is cut into `batch` rows; a batch holds the
next window of every row, so each row's state carries over from one batch to the next.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchdata.stateful_dataloader import StatefulDataLoader

from unroll.errors import UserError
from unroll.sequence.resumable_sampler import resumable

Tokens = NDArray[np.unsignedinteger[Any]]
Documents = Sequence[tuple[str, int]]
"""(name, position of its first token in the stream) of each document, in stream order"""
SHORTEST = 5
"""fewest steps of a randomised window (AWD-LSTM)"""


class Window(NamedTuple):
    """The next steps of every row."""

    tokens: Tensor
    """what the model reads, [T, B] int64"""
    targets: Tensor
    """what comes next, [T, B] int64"""
    usual: int
    """nominal steps per window; T may differ"""
    document: str = ""
    """name of the first target's document; empty if unknown, or if there are several rows"""


class TokenWriter:
    """Writes a stream piece by piece, in the smallest unsigned type for a vocabulary of `words`."""

    def __init__(self, path: Path, words: int) -> None:
        self.dtype = np.uint16 if words <= 2**16 else np.uint32
        self._file = path.open("wb")
        self.count = 0

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, numbers: Any) -> None:
        """Append a sequence of token numbers."""
        self._file.write(np.asarray(numbers, dtype=self.dtype).tobytes())
        self.count += len(numbers)


def open_tokens(path: Path, words: int) -> Tokens:
    """The stream that a `TokenWriter` with the same `words` wrote, memory-mapped."""
    return np.memmap(path, np.uint16 if words <= 2**16 else np.uint32, "r")


class WindowSampler(Sampler[list[tuple[int, int]]]):
    """(start, end) of each window of an epoch, in order: the state is carried over, so nothing is shuffled.

    With `randomised`, window sizes are redrawn in each epoch, from N(steps, 5) in 19 of 20 cases and from
    N(steps / 2, 5) otherwise, at least five (Merity, Keskar and Socher 2017, section 5), so that window boundaries
    vary. They are then stretched a little to fill the rows exactly, so that all epochs have the same number of batches;
    they are a function of (seed, epoch).

    Args:
        length: steps per row.
        steps: per window.
        randomised: see above.
        seed: for the sizes.

    Raises:
        ValueError: fewer than one step in a row or a window.
    """

    def __init__(self, length: int, steps: int, *, randomised: bool = False, seed: int = 0) -> None:
        if length < 1 or steps < 1:
            raise ValueError(f"expected at least one step in a row and in a window, got {length} and {steps}")
        self.length, self.steps, self.randomised, self.seed, self.epoch = length, steps, randomised, seed, 0
        mean = 0.95 * steps + 0.05 * steps / 2 if randomised else steps
        self._count = max(1, round(length / mean)) if randomised else -(-length // steps)

    def set_epoch(self, epoch: int) -> None:
        """Choose the windows of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # The epoch is read at the first window, so `set_epoch` may come after `iter`.
        # One by one: a stream larger than memory has millions of them.
        yield from ([window] for window in pairwise(chain(self._begins(), [self.length])))

    def _begins(self) -> Iterable[int]:
        if not self.randomised:
            return range(0, self.length, self.steps)
        random = np.random.default_rng([self.seed, self.epoch])
        centres = np.where(random.random(self._count) < 0.95, self.steps, self.steps / 2)
        sizes = np.maximum(random.normal(centres, 5), SHORTEST)
        ends = np.rint(np.cumsum(sizes) / sizes.sum() * self.length).astype(int)
        # Rounding may leave an empty window in a very short row.
        begins = np.unique(np.concatenate(([0], ends)))
        return map(int, begins[begins < self.length])


class _Rows(Dataset[Window]):
    """Windows of a stream laid out in rows, by (start, end).

    Step t of row b reads token b * length + t - 1 and predicts token b * length + t; `first` precedes the stream.
    """

    def __init__(self, tokens: Tokens, batch: int, steps: int, first: int, documents: Documents = ()) -> None:
        self.tokens, self.steps, self.first = tokens, steps, first
        self.names, self.starts = [name for name, _ in documents], [start for _, start in documents]
        self.length = len(tokens) // batch
        self._begins = np.arange(batch, dtype=np.int64) * self.length

    def __len__(self) -> int:
        return math.ceil(self.length / self.steps)

    def __getitem__(self, place: tuple[int, int]) -> Window:
        start, end = place
        wanted = self._begins + np.arange(start - 1, end, dtype=np.int64)[:, None]
        block = torch.from_numpy(self.tokens[np.maximum(wanted, 0)].astype(np.int64))
        if start == 0:
            block[0, 0] = self.first
        document = self.names[bisect(self.starts, start) - 1] if self.names and block.shape[1] == 1 else ""
        return Window(block[:-1], block[1:], self.steps, document)


def stream_loader(
    tokens: Tokens, *, batch: int, steps: int, first: int, name: str, documents: Documents = (),
    cure: str = "use fewer rows or shorter windows", randomised: bool = False, seed: int = 0,
) -> "StatefulDataLoader[Window]":  # fmt: skip
    """A loader of `Window`s over a token stream; it resumes exactly in mid-epoch.

    With `batch=1` every token of the stream is predicted once, for evaluation; otherwise the tokens that do not fill
    the last step of all rows are left out.

    Args:
        tokens: the stream, usually memory-mapped, [N].
        batch: rows.
        steps: per window.
        first: the token assumed before the stream.
        name: of the stream, for the error.
        cure: what to do about a stream that is too short, in the application's terms.
        documents: the documents of the stream, the first one at its start; empty if unknown.
        randomised, seed: as in `WindowSampler`.

    Raises:
        UserError: the stream is shorter than one window of every row.
    """
    rows = _Rows(tokens, batch, steps, first, documents)
    if rows.length < min(steps, 2 if batch == 1 else steps):
        raise UserError(
            f"{name}: has {len(tokens):,} tokens, but one window of {steps} steps in {batch} rows needs "
            f"{batch * steps:,}; give it more text, or {cure}"
        )
    sampler = WindowSampler(rows.length, steps, randomised=randomised, seed=seed)
    return resumable(rows, sampler, _only, seed=seed)


def _only(windows: list[Window]) -> Window:
    return windows[0]
