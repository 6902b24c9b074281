from itertools import pairwise

import numpy as np
import pytest

from unroll.apps.video.sources import builtin
from unroll.data.source import SPLITS


def read(task="motions", clips=40, seed=0, size=24, **options):
    return list(builtin.source(task, clips, seed, size, **options).read())


def test_the_same_seed_gives_the_same_clips_and_another_others():
    first, second, other = read(), read(), read(seed=1)
    assert [clip.id for clip in first] == [clip.id for clip in second]
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a.frames, b.frames) for a, b in zip(first, other, strict=True))


def test_splits_share_neither_digits_nor_random_numbers(monkeypatch):
    drawn = {split: [] for split in SPLITS}
    named = builtin.named
    monkeypatch.setattr(
        builtin, "named", lambda motion, digits, *rest: used.append(digits) or named(motion, digits, *rest)
    )
    used = []
    for clip in builtin.source("motions", 300, 0, 16).read():
        drawn[clip.split] += [digit.tobytes() for digit in used.pop()]
    assert all(len(digits) >= 16 for digits in drawn.values())
    for a, b in pairwise([*SPLITS, "train"]):
        assert not set(drawn[a]) & set(drawn[b])
    grounds = {clip.frames[0, 0, 0].tobytes() for clip in read()}
    assert len(grounds) == len(read())


def test_clips_are_what_they_should_be():
    clips = read()
    assert [sum(clip.split == split for clip in clips) for split in SPLITS] == [40, 8, 8]
    assert {clip.label for clip in clips} == set(builtin.MOTIONS)
    assert {len(clip.frames) for clip in clips} <= set(range(10, 21)) and len({len(c.frames) for c in clips}) > 5
    assert all(clip.frames.shape[1:] == (1, 24, 24) and clip.frames.dtype == np.uint8 for clip in clips)
    pairs = read("bouncing", size=20, length=15)
    assert all(clip.frames.shape == (15, 1, 20, 20) and clip.label == "" for clip in pairs)


def mover(motion, number):
    random = np.random.default_rng([7, number])
    digits = np.zeros((2, 8, 8))
    digits[:, 2:6, 2:6] = 1
    return builtin.named(motion, digits, 24, random)


@pytest.mark.parametrize("number", range(5))
def test_motions_are_what_they_are_called(number):
    for motion, (y, x) in {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}.items():
        path = mover(motion, number)[0].places
        step = np.diff(path, axis=0).mean(0)
        assert step @ (y, x) > 0.9 * np.linalg.norm(step) > 0.4
    for motion, sign in {"clockwise": 1, "anticlockwise": -1}.items():
        turning = mover(motion, number)[0]
        assert (sign * np.diff(turning.angles) > 0.1).all() and (np.diff(turning.places, axis=0) == 0).all()
    path = mover("bouncing", number)[0].places
    assert (np.sign(np.diff(path, axis=0)).min(0) < np.sign(np.diff(path, axis=0)).max(0)).any()
    assert path.min() >= builtin.MARGIN - 1e-9 and path.max() <= 24 - builtin.MARGIN + 1e-9
    one, other = (digit.places for digit in mover("crossing", number))
    assert (one[-1] - one[0]) @ (other[-1] - other[0]) < 0
    apart = np.linalg.norm(one - other, axis=1)
    assert apart.argmin() not in (0, len(one) - 1) and apart.min() < 5


def test_clockwise_is_clockwise_as_one_sees_it():
    image = np.zeros((8, 8))
    image[0:3, 3:5] = 1  # a hand that points up
    places, angles = np.full((2, 2), 12.0), np.array([0.0, np.pi / 2])
    up, right = builtin.render(np.zeros((24, 24)), [builtin.Mover(image, places, angles, 1.5)])[:, 0].astype(float)
    y, x = np.indices(up.shape) + 0.5
    middle = [((frame * y).sum() / frame.sum(), (frame * x).sum() / frame.sum()) for frame in (up, right)]
    assert middle[0][0] < 9 and abs(middle[0][1] - 12) < 0.5
    assert middle[1][1] > 15 and abs(middle[1][0] - 12) < 0.5


def test_a_digit_at_a_pixels_place_is_its_image():
    image = np.random.default_rng(0).random((8, 8))
    still = builtin.Mover(image, np.array([[10.0, 12.0]]), np.zeros(1), 1.0)
    frame = builtin.render(np.zeros((20, 20)), [still])[0, 0]
    assert np.abs(frame[6:14, 8:16] / 255 - image).max() < 0.5 / 255 + 1e-9
    assert frame.sum() == frame[6:14, 8:16].sum()
