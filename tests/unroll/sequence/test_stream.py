"""Token streams: layout, carried rows, randomised windows, exact resume, memory mapping."""

import json

import numpy as np
import pytest

from unroll.errors import UserError
from unroll.sequence.stream import SHORTEST, TokenWriter, WindowSampler, open_tokens, stream_loader

TOKENS = np.arange(1, 1004, dtype=np.uint16)
FIRST = 0


def make(batch=4, steps=30, **options):
    return stream_loader(TOKENS, batch=batch, steps=steps, first=FIRST, name="a text", **options)


def read(loader, epoch=0):
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("randomised", [False, True])
def test_rows_go_on_from_window_to_window_and_targets_are_one_ahead(randomised):
    windows = read(make(randomised=randomised))
    inputs = np.concatenate([w.tokens.numpy() for w in windows])
    targets = np.concatenate([w.targets.numpy() for w in windows])
    rows = TOKENS[:1000].reshape(4, 250).T
    np.testing.assert_array_equal(targets, rows)
    np.testing.assert_array_equal(inputs[1:], rows[:-1])
    # Before the first token stands `first`; before the other rows' first tokens, the end of the row above.
    assert inputs[0].tolist() == [FIRST, *(rows[0, 1:] - 1).tolist()]


def test_with_one_row_every_token_is_predicted_once():
    windows = read(make(batch=1, steps=64))
    assert np.concatenate([w.targets[:, 0].numpy() for w in windows]).tolist() == TOKENS.tolist()


def test_fixed_windows_are_the_same_in_every_epoch():
    shapes = [[tuple(w.tokens.shape) for w in read(make(), epoch)] for epoch in (0, 3)]
    assert shapes[0] == shapes[1] == [(30, 4)] * 8 + [(10, 4)]
    assert len(make()) == 9


def test_randomised_windows_are_as_many_but_others_in_every_epoch():
    sampler = WindowSampler(7000, 70, randomised=True, seed=5)
    epochs = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        epochs.append([b - a for [(a, b)] in sampler])
        assert sum(epochs[-1]) == 7000 and len(epochs[-1]) == len(sampler)
    assert len({tuple(sizes) for sizes in epochs}) == 4
    sampler.set_epoch(1)
    assert [b - a for [(a, b)] in sampler] == epochs[1]
    sizes = np.array([size for epoch in epochs for size in epoch])
    assert sizes.min() >= SHORTEST - 1
    assert 0.01 < (sizes < 52).mean() < 0.12  # one in twenty is of half the size
    assert 4.5 < sizes[sizes > 52].std() < 5.5


@pytest.mark.parametrize("randomised", [False, True])
@pytest.mark.parametrize(("epoch", "given"), [(0, 0), (0, 1), (2, 5)])
def test_resumes_in_mid_epoch_exactly(epoch, given, randomised):
    undisturbed = make(randomised=randomised)
    undisturbed.batch_sampler.set_epoch(epoch)
    iterator = iter(undisturbed)
    for _ in range(given):
        next(iterator)
    state = json.loads(json.dumps(undisturbed.state_dict()))
    expected = [w.targets.tolist() for w in iterator]

    resumed = make(randomised=randomised)
    resumed.load_state_dict(state)
    resumed.batch_sampler.set_epoch(epoch)  # as the loop does after a restart
    assert [w.targets.tolist() for w in resumed] == expected
    assert len(expected) == len(resumed) - given
    following = [[w.targets.tolist() for w in read(one, epoch + 1)] for one in (undisturbed, resumed)]
    assert following[0] == following[1]


@pytest.mark.parametrize(("batch", "steps"), [(4, 251), (1004, 1)])
def test_a_stream_shorter_than_a_window_is_one_line(batch, steps):
    with pytest.raises(UserError, match=rf"^a text: has 1,003 tokens, but one window of {steps} steps in {batch} rows"):
        make(batch=batch, steps=steps)


@pytest.mark.parametrize(("length", "steps"), [(0, 5), (5, 0)])
def test_sampler_refuses_nothing(length, steps):
    with pytest.raises(ValueError, match="at least one step"):
        WindowSampler(length, steps)


@pytest.mark.parametrize(("words", "size"), [(65536, 2), (65537, 4)])
def test_a_stream_is_written_piece_by_piece_and_mapped_not_read(tmp_path, words, size):
    path = tmp_path / "text.tokens"
    with TokenWriter(path, words) as writer:
        for start in range(0, 50_000, 10_000):
            writer.write(list(range(start, start + 10_000)))
        writer.write([words - 1])
    assert writer.count == 50_001 and path.stat().st_size == size * 50_001
    tokens = open_tokens(path, words)
    assert isinstance(tokens, np.memmap) and tokens[-1] == words - 1
    windows = list(stream_loader(tokens, batch=5, steps=100, first=0, name="a text"))
    assert windows[3].targets[:, 2].tolist() == list(range(20_300, 20_400))


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_randomised_windows_of_a_short_row_are_not_empty_and_cover_it(length, steps):
    sampler = WindowSampler(length, steps, randomised=True)
    for epoch in range(20):
        sampler.set_epoch(epoch)
        windows = [window for [window] in sampler]
        assert [step for begin, end in windows for step in range(begin, end)] == list(range(length))
        assert len(windows) <= len(sampler) and all(begin < end for begin, end in windows)


def test_the_number_of_randomised_windows_is_that_of_their_mean_size():
    assert [len(WindowSampler(n, 40, randomised=True)) for n in (1, 19, 58, 59, 390)] == [1, 1, 1, 2, 10]


def test_a_window_of_one_row_names_its_document():
    """That of its first target, also where the document begins at a window's edge."""
    documents = [("one", 0), ("two", 5), ("three", 6), ("four", 12)]
    options = {"batch": 1, "steps": 3, "first": FIRST, "name": "a text", "documents": documents}
    windows = list(stream_loader(TOKENS[:14], **options))
    assert [window.document for window in windows] == ["one", "one", "three", "three", "four"]
    assert [window.usual for window in windows] == [3] * 5 and len(windows[-1].tokens) == 2
    assert {window.document for window in stream_loader(TOKENS[:14], **{**options, "batch": 2})} == {""}


@pytest.mark.parametrize(
    ("tokens", "batch", "steps", "enough"),
    [(2, 1, 50, True), (1, 1, 50, False), (1, 1, 1, True), (12, 4, 3, True), (11, 4, 3, False), (0, 1, 1, False)],
)
def test_the_shortest_stream_that_is_read(tokens, batch, steps, enough):
    def read():
        return list(stream_loader(TOKENS[:tokens], batch=batch, steps=steps, first=FIRST, name="a text"))

    if enough:
        assert sum(window.targets.numel() for window in read()) == tokens
    else:
        with pytest.raises(UserError, match="one window of"):
            read()
