"""Batches of sequences of different lengths: little padding, order a function of (seed, epoch), exact resume."""

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
"""more: neighbours differ more from epoch to epoch; fewer: less padding"""


class BucketSampler(EpochSampler[list[int]]):
    """Batches of similar lengths, each of at most `budget` steps with its padding (longest length times rows).

    The sequences, sorted by length, are cut into buckets; every epoch redeals each bucket into batches and shuffles
    the batches. So the number of batches is the same in every epoch, and the order is a function of (seed, epoch).
    A sequence longer than the budget is a batch of its own.

    Args:
        lengths: steps of each sequence, [N] positive integers.
        budget: largest number of steps in a batch, padding included.
        seed: of the order.
        shuffle: False gives the same batches in every epoch, the longest first.

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
        """The batches of `self.epoch`, from number `start` on: rows of each."""
        return self._order()[start:]

    def _order(self) -> list[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        dealt = ((random.permutation(rows) if self.shuffle else rows, parts) for rows, parts in self._buckets)
        batches = [batch.tolist() for rows, parts in dealt for batch in np.array_split(rows, parts)]
        return [batches[i] for i in random.permutation(len(batches))] if self.shuffle else batches


def _buckets(steps: np.ndarray[Any, Any], budget: int) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """(rows, batches to deal them into), the longest first."""
    rows = np.argsort(-steps, kind="stable")
    while rows.size:
        # The longest row of a bucket bounds the padding of all its batches, however they are dealt.
        size = max(1, budget // int(steps[rows[0]]))
        bucket, rows = rows[: size * BATCHES_PER_BUCKET], rows[size * BATCHES_PER_BUCKET :]
        yield bucket, -(-bucket.size // size)


def pad(sequences: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Sequences [T_i, ...] to (padded [T, B, ...] with T the longest, lengths [B] int64). Time comes first."""
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
    """A loader of `BucketSampler` batches, collated by `collate`, that resumes exactly in mid-epoch.

    Args:
        dataset: N examples; a list of them will do.
        lengths: steps of each example, [N].
        budget, seed, shuffle: see `BucketSampler`.
        collate: makes a batch of a list of examples.
        workers: processes that load batches ahead; 0: none.
    """
    sampler = BucketSampler(lengths, budget, seed=seed, shuffle=shuffle)
    return resumable(dataset, sampler, collate, seed=seed, workers=workers)
