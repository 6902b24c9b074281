import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unroll.sequence import batching
from unroll.sequence.batching import BucketSampler, loader, pad

LENGTHS = np.random.default_rng(0).integers(10, 300, size=500)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    budget=st.integers(1, 200),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_every_row_once_within_the_budget(lengths, budget, epoch, shuffle):
    sampler = BucketSampler(lengths, budget, shuffle=shuffle)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert Counter(row for batch in batches for row in batch) == Counter(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert all(len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= budget for batch in batches)


def test_padding_is_small():
    batches = list(BucketSampler(LENGTHS, 3000))
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert LENGTHS.sum() / padded > 0.85


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch, shuffle=True):
        sampler = BucketSampler(LENGTHS, 3000, seed=seed, shuffle=shuffle)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1, shuffle=False) == order(1, 2, shuffle=False)
    # Not only the order of the batches changes, but also which sequences share one.
    assert not {frozenset(batch) for batch in order(0, 1)} & {frozenset(batch) for batch in order(0, 2)}


def test_set_epoch_counts_until_the_first_batch():
    early, late = BucketSampler(LENGTHS, 3000), BucketSampler(LENGTHS, 3000)
    early.set_epoch(4)
    iterator = iter(late)
    late.set_epoch(4)
    assert list(iterator) == list(early)


@pytest.mark.parametrize(("lengths", "budget"), [([], 10), ([3, 0], 10), ([3], 0)])
def test_refuses_what_cannot_be_batched(lengths, budget):
    with pytest.raises(ValueError, match="at least 1"):
        BucketSampler(lengths, budget)


def make(seed=3):
    sequences = [torch.full((length, 2), float(i)) for i, length in enumerate(LENGTHS.tolist())]
    return loader(sequences, LENGTHS, 3000, pad, seed=seed)


def identities(batches):
    return [sequences[0, :, 0].tolist() for sequences, _ in batches]


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("given", [0, 1, 17])
def test_resumes_in_mid_epoch_exactly(epoch, given):
    undisturbed = make()
    undisturbed.batch_sampler.set_epoch(epoch)
    iterator = iter(undisturbed)
    for _ in range(given):
        next(iterator)
    state = json.loads(json.dumps(undisturbed.state_dict()))
    expected = identities(iterator)

    resumed = make()
    resumed.load_state_dict(state)
    resumed.batch_sampler.set_epoch(epoch)  # as the loop does after a restart
    assert identities(resumed) == expected
    assert len(expected) == len(resumed) - given

    for following in (undisturbed, resumed):
        following.batch_sampler.set_epoch(epoch + 1)
    assert identities(resumed) == identities(undisturbed)


def test_pad_puts_time_first():
    padded, lengths = pad([torch.ones(2, 3), torch.ones(4, 3)], value=-1)
    assert padded.shape == (4, 2, 3)
    assert lengths.tolist() == [2, 4]
    assert padded[2:, 0].eq(-1).all()
    assert padded[:, 1].eq(1).all()
    assert pad([torch.ones(1), torch.ones(2)])[0].tolist() == [[1, 1], [0, 1]]


def test_in_order_the_longest_come_first_and_a_batch_is_as_full_as_its_bucket_allows(monkeypatch):
    monkeypatch.setattr(batching, "BATCHES_PER_BUCKET", 2)
    batches = list(BucketSampler([2, 5, 3, 9, 4, 1, 5, 2, 2], 10, shuffle=False))
    assert batches == [[3], [1], [6, 4], [2, 0], [7, 8, 5]]
