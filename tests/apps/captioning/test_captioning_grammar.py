"""Scenes, their captions, and how captions are checked against them."""

import itertools

import numpy as np
import pytest

from unroll.apps.captioning.grammar import Judgement, describe, judge, parse
from unroll.apps.captioning.scenes import COLOURS, SHAPES, SIDE, TEXTURES, Thing, compose, draw, is_held_out
from unroll.apps.captioning.sources import builtin

CIRCLE = Thing("circle", "red", "small", "striped", 0, 0)
STAR = Thing("star", "blue", "large", "plain", 1, 2)
SCENE = (CIRCLE, STAR)
KINDS = list(itertools.product(SHAPES, COLOURS, TEXTURES))


def test_everything_that_is_said_is_true_and_most_is_said():
    random = np.random.default_rng(0)
    told = []
    for _ in range(300):
        scene = compose("train", random)
        caption = describe(scene, random)
        found = judge(caption, scene)
        assert parse(caption) is not None, caption
        assert found.true == found.stated, caption
        told.append(found.told / found.facts)
    assert 0.8 < np.mean(told) < 0.95


def test_captions_of_a_scene_vary():
    random = np.random.default_rng(1)
    assert len({describe(SCENE, random) for _ in range(50)}) > 40


def test_only_test_shows_held_out_combinations_and_every_picture_of_it_does():
    random = np.random.default_rng(2)
    for split in ("train", "val"):
        assert not any(is_held_out(thing) for _ in range(200) for thing in compose(split, random))
    assert all(any(map(is_held_out, compose("test", random))) for _ in range(200))


def test_every_pair_is_seen_and_everything_is_held_out_in_some_combination():
    every = [Thing(shape, colour, "small", texture, 0, 0) for shape, colour, texture in KINDS]
    held = [thing for thing in every if is_held_out(thing)]
    assert len(held) == len(every) / 6
    for one, other in itertools.combinations(("shape", "colour", "texture"), 2):
        pairs = [{(getattr(t, one), getattr(t, other)) for t in things} for things in (every, set(every) - set(held))]
        assert pairs[0] == pairs[1]
    for kind, names in (("shape", SHAPES), ("colour", COLOURS), ("texture", TEXTURES)):
        assert {getattr(thing, kind) for thing in held} == set(names)


@pytest.mark.parametrize(
    ("caption", "true", "stated", "told"),
    [
        ("a small striped red circle in the top left and a large plain blue star on the right", 10, 10, 10),
        ("there is a blue star on the right and a little red disc with stripes in the upper left", 8, 8, 8),
        ("in the top left a red circle", 3, 3, 3),
        ("a red circle is left of a blue star", 5, 5, 4),
        ("a red circle is above a blue star", 5, 5, 4),
        ("a red circle is right of a blue star", 4, 5, 4),
        ("a large red circle in the top left", 3, 4, 3),
        ("a red star", 1, 2, 1),
        ("a blue circle and a red star", 2, 4, 2),
        ("a red circle and a blue star and a green ring", 4, 6, 4),
        ("a red circle and a red circle", 2, 4, 2),
        ("a red circle is left of a blue star and below a green ring", 5, 8, 4),
    ],
)
def test_claims_are_counted(caption, true, stated, told):
    assert judge(caption, SCENE) == Judgement(true, stated, told, 10)


@pytest.mark.parametrize(
    ("caption", "stated"),
    [
        ("red circle", 2),
        ("a red circle left of", 3),
        ("a red circle and left of a blue star", 5),
        ("a circle red in the top left", 3),
        ("and and", 1),
        ("", 1),
    ],
)
def test_what_is_no_sentence_claims_its_words_falsely(caption, stated):
    assert parse(caption) is None
    assert judge(caption, SCENE) == Judgement(0, stated, 0, 10)


def test_a_very_long_list_is_judged_quickly():
    caption = " and ".join(["a red circle"] * 25)
    assert judge(caption, SCENE).stated == 50


def test_pictures_are_a_function_of_the_seed_and_show_what_they_should():
    random = [np.random.default_rng(seed) for seed in (5, 5, 6)]
    first, again, other = (np.asarray(draw((STAR,), one)).astype(int) for one in random)
    assert first.shape == (SIDE, SIDE, 3)
    assert (first == again).all() and (first != other).any()
    blueness = first[..., 2] - first[..., 0]
    rows, columns = np.nonzero(blueness > 80)
    assert rows.size > 40
    assert SIDE / 3 <= rows.mean() < 2 * SIDE / 3 <= columns.mean()


def test_the_builtin_source_reads_the_same_every_time():
    def read(seed):
        return [(p.id, p.captions, p.scene, p.load().tobytes()) for p in builtin.source(40, seed).read()]

    assert read(0) == read(0) != read(1)
    splits = [name.partition("-")[0] for name, *_ in read(0)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [40, 2, 5]
