"""Batches of a fixed size: every row once per epoch, an order by (seed, epoch), and resuming in mid-epoch."""

import pytest

from unroll.sequence.resumable_sampler import RowSampler, dataset_of, resumable


@pytest.mark.parametrize(("rows", "size", "batches"), [(10, 4, 3), (8, 4, 2), (3, 5, 1)])
def test_every_row_comes_once_and_only_the_last_batch_is_smaller(rows, size, batches):
    sampler = RowSampler(rows, size, seed=3, shuffle=True)
    given = list(sampler)
    assert len(sampler) == len(given) == batches
    assert sorted(row for batch in given for row in batch) == list(range(rows))
    assert all(len(batch) == size for batch in given[:-1])


def test_the_order_is_a_function_of_seed_and_epoch():
    one, other = (RowSampler(50, 7, seed=3, shuffle=True) for _ in range(2))
    first = list(one)
    one.set_epoch(1)
    other.set_epoch(1)
    assert list(one) == list(other) != first
    assert first != list(RowSampler(50, 7, seed=4, shuffle=True))
    assert list(RowSampler(5, 2, seed=3, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_a_resumed_pass_continues_behind_the_batches_that_were_given():
    undisturbed = list(RowSampler(20, 3, seed=1, shuffle=True))
    stopped, resumed = (RowSampler(20, 3, seed=1, shuffle=True) for _ in range(2))
    batches = iter(stopped)
    given = [next(batches), next(batches)]
    resumed.load_state_dict(stopped.state_dict())
    assert given + list(resumed) == undisturbed


def test_the_data_set_behind_a_loader():
    rows = list(range(6))
    batches = resumable(rows, RowSampler(6, 4, seed=0, shuffle=False), list, seed=0)
    assert dataset_of(batches) is rows and list(batches) == [[0, 1, 2, 3], [4, 5]]
    with pytest.raises(TypeError, match="a loader with a data set, got list"):
        dataset_of([[0, 1]])
