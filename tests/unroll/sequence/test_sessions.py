"""Session-parallel batches: every step once, resets where sessions begin, order and resume exact."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unroll.recurrence import Recurrent
from unroll.sequence.sessions import SessionParallel, loader, ranges, starts

LENGTHS = np.random.default_rng(0).integers(1, 12, size=200)
OFFSETS = np.append(0, LENGTHS.cumsum())


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40).filter(lambda lengths: max(lengths) > 1),
    rows=st.integers(1, 12),
    steps=st.integers(1, 7),
    epoch=st.integers(0, 3),
)
def test_every_step_is_given_once_and_rows_follow_the_sessions(lengths, rows, steps, epoch):
    offsets = np.append(0, np.cumsum(lengths))
    sampler = SessionParallel(offsets, rows, steps)
    sampler.set_epoch(epoch)
    windows = list(sampler)
    assert len(windows) == len(sampler)
    stream = np.concatenate(windows)
    wanted = [p for begin, end in pairwise(offsets) for p in range(begin, end - 1)]
    assert Counter(stream[stream >= 0].tolist()) == Counter(wanted)
    first = starts(offsets)
    for row in stream.T:
        inside = row[row >= 0]
        assert (row[: len(inside)] == inside).all()  # what is filled up is at the end
        for before, after in pairwise(inside):
            assert after == before + 1 or first[after]


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = SessionParallel(OFFSETS, 8, 5, seed=seed)
        sampler.set_epoch(epoch)
        return np.concatenate(list(sampler)).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


@pytest.mark.parametrize("given", [0, 1, 9])
def test_resumes_in_mid_epoch_exactly(given):
    def fresh():
        return loader(lambda positions: positions.tolist(), OFFSETS, 8, 5, seed=3)

    undisturbed = fresh()
    undisturbed.batch_sampler.set_epoch(2)
    iterator = iter(undisturbed)
    for _ in range(given):
        next(iterator)
    state = json.loads(json.dumps(undisturbed.state_dict()))
    expected = list(iterator)

    resumed = fresh()
    resumed.load_state_dict(state)
    resumed.batch_sampler.set_epoch(2)
    assert list(resumed) == expected
    assert len(expected) == len(resumed) - given


def test_a_session_in_a_row_is_computed_as_if_it_were_alone():
    """With the reset at the right step and the state carried over windows: not one step late, not with an old state."""
    torch.manual_seed(0)
    recurrent = Recurrent("gru", 3, 4)
    events = torch.randn(int(OFFSETS[-1]), 3)
    first = torch.from_numpy(starts(OFFSETS))
    together, state = {}, None
    for positions in SessionParallel(OFFSETS, 8, 5):
        here = torch.from_numpy(positions)
        inside = here >= 0
        reset = first[here.clamp(min=0)] & inside
        output, state = recurrent(events[here.clamp(min=0)], state, lengths=inside.sum(0), reset=reset)
        together |= dict(zip(here[inside].tolist(), output[inside], strict=True))
    stream = np.concatenate(list(SessionParallel(OFFSETS, 8, 5)))
    row_of = {int(position): int(row) for row, positions in enumerate(stream.T) for position in positions}
    checked = 0
    for begin, end in pairwise(OFFSETS):
        places = range(begin, end - 1)
        if len({row_of[p] for p in places}) != 1:  # a single click, or a session that the rows cut in two
            continue
        alone, _ = recurrent(events[begin : end - 1, None])
        torch.testing.assert_close(torch.stack([together[p] for p in places]), alone[:, 0])
        checked += 1
    assert checked > 150  # of 200, at most 7 of them cut


def test_starts_and_ranges():
    assert starts([0, 2, 2, 3]).tolist() == [True, False, True]
    assert ranges(np.array([5, 0]), np.array([2, 3])).tolist() == [5, 6, 0, 1, 2]


@pytest.mark.parametrize(
    ("offsets", "rows", "steps"),
    [([0, 1, 2], 2, 2), ([0, 3], 0, 2), ([0, 3], 2, 0), ([3, 0], 1, 1), ([0, 5, 2, 9], 1, 1)],
)
def test_refuses_what_cannot_be_batched(offsets, rows, steps):
    with pytest.raises(ValueError, match="at least 1"):
        SessionParallel(offsets, rows, steps)
