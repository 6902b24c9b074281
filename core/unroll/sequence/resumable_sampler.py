"""Base of all training data orders: a function of (seed, epoch) that resumes exactly in mid-epoch."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torchdata.stateful_dataloader import StatefulDataLoader

Batch = TypeVar("Batch")
Item = TypeVar("Item", covariant=True)


class Examples(Protocol[Item]):
    """What a loader reads by number: a list, or anything else with a length and items."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


class EpochSampler(Sampler[Batch]):
    """A batch sampler that remembers how many batches of the epoch it has yielded.

    Args:
        seed: of the order, which is a function of (seed, epoch).
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0
        self._given = self._resume = 0

    @abstractmethod
    def batches(self, start: int) -> Iterable[Batch]:
        """The batches of `self.epoch`, from number `start` on."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        start, self._resume = self._resume, 0
        self._given = start
        return self._remaining(start)

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of batches yielded in it so far."""
        return {"epoch": self.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next pass continue after the batches already yielded in `state`."""
        self.epoch = state["epoch"]
        self._given = self._resume = state["given"]

    def _remaining(self, start: int) -> Iterator[Batch]:
        # Not in __iter__: a generator reads the epoch at the first batch, so `set_epoch` may come after `iter`.
        for batch in self.batches(start):
            self._given += 1
            yield batch


class RowSampler(EpochSampler[list[Any]]):
    """Batches of equally many rows of a data set, drawn from all of them; the last batch may be smaller.

    Args:
        rows: of the data set.
        size: rows in a batch.
        seed: of the order, which is a function of (seed, epoch).
        shuffle: False leaves the rows in theirs.
    """

    def __init__(self, rows: int, size: int, *, seed: int, shuffle: bool) -> None:
        super().__init__(seed)
        self.rows, self.size, self.shuffle = rows, size, shuffle

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)

    def batches(self, start: int) -> Iterable[list[Any]]:
        """The batches of `self.epoch`, from number `start` on: the numbers of the rows of each."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.rows) if self.shuffle else np.arange(self.rows)
        return (order[at : at + self.size].tolist() for at in range(start * self.size, self.rows, self.size))


def resumable(
    dataset: "Dataset[Any] | Examples[Any]",
    sampler: Sampler[Any],
    collate: Callable[[Any], Any],
    *,
    seed: int,
    workers: int = 0,
) -> "StatefulDataLoader[Any]":
    """A loader of the sampler's batches, collated by `collate`, that resumes exactly in mid-epoch."""
    # Its own generator: a draw from the global one, made once per pass, would set a resumed run off by one.
    own = torch.Generator().manual_seed(seed)
    return StatefulDataLoader(
        cast("Dataset[Any]", dataset),  # of a data set, torch asks no more than a list can do
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        generator=own,
    )


def dataset_of(batches: Iterable[Any]) -> Any:
    """The data set that a loader of `resumable` reads. Raises TypeError for batches that come from anything else."""
    if not isinstance(batches, StatefulDataLoader):
        raise TypeError(f"expected a loader with a data set, got {type(batches).__name__}")
    return batches.dataset
