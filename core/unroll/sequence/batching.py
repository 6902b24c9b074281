"""Batches of sequences of different lengths: little padding, an order fixed by (seed, epoch), exact resume."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchdata.stateful_dataloader import StatefulDataLoader

from unroll.sequence.resumable_sampler import EpochSampler, Examples, resumable

Item = TypeVar("Item")

BATCHES_PER_BUCKET = 4
"""more: batches vary more between epochs; fewer: less padding"""


class BucketSampler(EpochSampler[list[int]]):
    """Batches of similar lengths, each with at most `budget` steps including padding (longest length times rows).

    The sequences, sorted by length, are cut into buckets; every epoch reassigns each bucket's sequences to batches and
    shuffles the batches. So every epoch has the same number of batches, and the order is a function of (seed, epoch).
    A sequence longer than the budget is a batch by itself.

    Args:
        lengths: steps of each sequence, [N] positive integers.
        budget: most steps in a batch, including padding.
        seed: for the order.
        shuffle: if False, every epoch has the same batches, longest first.

    Raises:
        ValueError: no sequences, a length below one, or a budget below one.
    """

    def __init__(self, lengths: ArrayLike, budget: int, *, seed: int = 0, shuffle: bool = True) -> None:
        steps = np.asarray(lengths, dtype=np.int64)
        if steps.ndim != 1 or steps.size == 0 or steps.min() < 1 or budget < 1:
            raise ValueError(
                f"expected lengths [N] of at least 1 and a budget of at least 1, got {list(steps.shape)}, "
                f"minimum {steps.min(initial=0)}, budget {budget}"
            )
        super().__init__(seed)
        self.shuffle = shuffle
        self._buckets = list(_buckets(steps, budget))

    def __len__(self) -> int:
        return sum(parts for _, parts in self._buckets)

    def batches(self, start: int) -> list[list[int]]:
        """The batches of `self.epoch`, starting with number `start`: the rows of each."""
        return self._order()[start:]

    def _order(self) -> list[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        dealt = ((random.permutation(rows) if self.shuffle else rows, parts) for rows, parts in self._buckets)
        batches = [batch.tolist() for rows, parts in dealt for batch in np.array_split(rows, parts)]
        return [batches[i] for i in random.permutation(len(batches))] if self.shuffle else batches


def _buckets(steps: np.ndarray[Any, Any], budget: int) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """(rows, number of batches), longest first."""
    rows = np.argsort(-steps, kind="stable")
    while rows.size:
        # The longest row of a bucket bounds the padding of all its batches, however rows are assigned to them.
        size = max(1, budget // int(steps[rows[0]]))
        bucket, rows = rows[: size * BATCHES_PER_BUCKET], rows[size * BATCHES_PER_BUCKET :]
        yield bucket, -(-bucket.size // size)


def pad(sequences: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Sequences [T_i, ...] to (padded [T, B, ...] with T the longest, lengths [B] int64), time first."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), padding_value=value), lengths


def loader(
    dataset: Examples[Item],
    lengths: ArrayLike,
    budget: int,
    collate: Callable[[list[Item]], Any],
    *,
    seed: int = 0,
    shuffle: bool = True,
    workers: int = 0,
) -> "StatefulDataLoader[Item]":
    """A loader of `BucketSampler` batches, collated by `collate`; it resumes exactly in mid-epoch.

    Args:
        dataset: N examples, for example a list.
        lengths: steps of each example, [N].
        budget, seed, shuffle: see `BucketSampler`.
        collate: turns a list of examples into a batch.
        workers: worker processes that load batches ahead; 0: none.
    """
    sampler = BucketSampler(lengths, budget, seed=seed, shuffle=shuffle)
    return resumable(dataset, sampler, collate, seed=seed, workers=workers)
