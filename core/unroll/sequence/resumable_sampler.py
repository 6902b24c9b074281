"""Base of all samplers for training: the order is a function of (seed, epoch) and resumes exactly in mid-epoch."""

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
        seed: for the order, which is a function of (seed, epoch).
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0
        self._given = self._resume = 0

    @abstractmethod
    def batches(self, start: int) -> Iterable[Batch]:
        """The batches of `self.epoch`, starting with number `start`."""

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
    """Batches of a fixed size from all rows of a data set; the last batch may be smaller.

    Args:
        rows: number of rows in the data set.
        size: batch size.
        seed: for the order, which is a function of (seed, epoch).
        shuffle: if False, rows keep their order.
    """

    def __init__(self, rows: int, size: int, *, seed: int, shuffle: bool) -> None:
        super().__init__(seed)
        self.rows, self.size, self.shuffle = rows, size, shuffle

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)

    def batches(self, start: int) -> Iterable[list[Any]]:
        """The batches of `self.epoch`, starting with number `start`: the row numbers of each."""
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
    """A loader of the sampler's batches, collated by `collate`; it resumes exactly in mid-epoch."""
    # Its own generator: one draw per pass from the global generator would shift a resumed run by one.
    own = torch.Generator().manual_seed(seed)
    return StatefulDataLoader(
        cast("Dataset[Any]", dataset),  # of a data set, torch asks no more than a list can do
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        generator=own,
    )


def dataset_of(batches: Iterable[Any]) -> Any:
    """The data set of a loader made by `resumable`. Raises TypeError for any other source of batches."""
    if not isinstance(batches, StatefulDataLoader):
        raise TypeError(f"expected a loader with a data set, got {type(batches).__name__}")
    return batches.dataset
