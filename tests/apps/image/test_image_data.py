"""Batches: whole, in an order that is a function of (seed, epoch), and prepared once."""

from itertools import chain

import numpy as np
import pytest
import torch

from unroll.apps.image import data, sources
from unroll.data.store import Store


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return data.prepare(Store(tmp_path_factory.mktemp("image")), sources.builtin())


def rows(loader) -> list[list[int]]:
    return [batch.rows.tolist() for batch in loader]


def test_every_picture_once_in_each_epoch_in_an_order_of_its_own(prepared):
    made = data.batches(prepared, size=50, seed=3)
    first, again = rows(made.train), rows(data.batches(prepared, size=50, seed=3).train)
    made.train.batch_sampler.set_epoch(1)
    second = rows(made.train)
    other = rows(data.batches(prepared, size=50, seed=4).train)
    assert first == again
    assert len({str(order) for order in (first, second, other)}) == 3
    assert [len(batch) for batch in first] == [50] * 25 + [5]
    assert all(sorted(chain.from_iterable(order)) == list(range(1255)) for order in (first, second, other))
    assert rows(made.val) == rows(made.val) == [list(range(at, min(at + 50, 183))) for at in range(0, 183, 50)]


def test_resuming_in_mid_epoch_goes_on_exactly(prepared):
    whole = data.batches(prepared, size=100, seed=0).train
    stopped = iter(whole)
    before = [next(stopped).rows.tolist() for _ in range(4)]
    resumed = data.batches(prepared, size=100, seed=0).train
    resumed.load_state_dict(whole.state_dict())
    assert before + rows(resumed) == rows(data.batches(prepared, size=100, seed=0).train)


def test_a_batch_is_what_its_rows_say(prepared):
    batch = next(iter(data.batches(prepared, size=7, seed=0).train))
    pictures = sources.builtin().read()
    numbers = [int(id.removeprefix("digit ")) for id in batch.ids]
    assert torch.equal(batch.pixels, torch.from_numpy(pictures.pixels[numbers]))
    assert batch.labels.tolist() == pictures.labels[numbers].tolist()
    assert {pictures.splits[number] for number in numbers} == {"train"}


def test_a_limit_takes_training_pictures_from_everywhere_and_leaves_the_other_splits(prepared):
    made = data.batches(prepared, size=50, seed=0, limit=61)
    numbers = sorted(int(id.removeprefix("digit ")) for batch in made.train for id in batch.ids)
    assert len(set(numbers)) == 61 and numbers[0] < 10 and numbers[-1] > 1780
    assert 10 < max(np.diff(numbers)) < 60
    assert sum(len(batch) for batch in rows(made.test)) == 359


def test_levels_are_rounded(tmp_path):
    assert data.quantised(np.arange(256, dtype=np.uint8), 256, 2).tolist() == [0] * 128 + [1] * 128
    sixteenths = np.arange(17, dtype=np.uint8)
    assert data.quantised(data.quantised(sixteenths, 17, 256), 256, 17).tolist() == sixteenths.tolist()
    two = data.prepare(Store(tmp_path), sources.builtin(), levels=2)
    made = data.batches(two, size=64, seed=0)
    assert made.facts["levels"] == 2
    assert next(iter(made.test)).pixels.unique().tolist() == [0, 1]
