"""Pairs of scene descriptions, scored by the facts that they share. No download.

A scene is two or three shapes, each with a size and a colour, in a row or a column. Its facts: which shapes are there,
the size of each, the colour of each, and where each is relative to the next. The score of two scenes is the Dice
coefficient of their facts, 2 |A and B| / (|A| + |B|). A description states all facts in one of several ways: "the red
cube is left of the blue ball" and "the blue ball stands right of the red cube" share them all; "the blue cube is left
of the red ball" has the same words as the first and shares half of its facts.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from unroll.data.source import Split

from . import Pair, Source

VERSION = 1
"""part of the specification: raise it when the same settings give other pairs"""
SHAPES = ("ball", "bottle", "box", "cone", "cube", "cup", "ring", "star")
COLOURS = ("blue", "green", "red", "white", "yellow")
SIZES = (("small", "little", "tiny"), ("large", "big", "huge"))
"""for each size, the words for it"""
RELATIONS = (("left of", "right of"), ("above", "below"))
"""for each axis, where the first is relative to the second, and the second relative to the first"""
VERBS = ("is", "stands", "lies")
SPLIT = "no description in two splits"
SHARES: dict[Split, float] = {"train": 1.0, "val": 0.1, "test": 0.2}
"""pairs of each split, relative to train"""

Fact = tuple[str | int, ...]


class Thing(NamedTuple):
    """One of the shapes of a scene."""

    shape: str
    size: int
    colour: str


class Scene(NamedTuple):
    """Things in order: each is left of (axis 0) or above (axis 1) the next."""

    things: tuple[Thing, ...]
    axis: int


def source(pairs: int, seed: int) -> Source:
    """`pairs` pairs to train on; a tenth as many for val, a fifth for test. No description is in two splits."""
    spec = {"source": "builtin", "version": VERSION, "pairs": pairs, "seed": seed, "split": SPLIT}
    return Source(spec, partial(_read, pairs, seed), low=0.0, high=1.0)


def facts(scene: Scene) -> set[Fact]:
    """Everything that a description of the scene states."""
    said: set[Fact] = set()
    for thing in scene.things:
        said |= {("is there", thing.shape), ("size", thing.shape, thing.size), ("colour", thing.shape, thing.colour)}
    for first, second in zip(scene.things, scene.things[1:], strict=False):
        said.add((RELATIONS[scene.axis][0], first.shape, second.shape))
    return said


def similarity(a: Scene, b: Scene) -> float:
    """The Dice coefficient of the facts of two scenes: 0 nothing in common, 1 the same."""
    ours, theirs = facts(a), facts(b)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def entailment(a: Scene, b: Scene) -> str:
    """ENTAILMENT: a states all that b states. CONTRADICTION: they disagree on a thing in both. Otherwise NEUTRAL."""
    if facts(b) <= facts(a):
        return "ENTAILMENT"
    return "CONTRADICTION" if _at_odds(a, b) else "NEUTRAL"


def _at_odds(a: Scene, b: Scene) -> bool:
    theirs = {thing.shape: thing for thing in b.things}
    if any(thing != theirs.get(thing.shape, thing) for thing in a.things):
        return True
    ours = [thing.shape for thing in a.things]
    shared = [thing.shape for thing in b.things if thing.shape in ours]
    # Two shapes that are side by side here and above each other there are a contradiction as well.
    return len(shared) > 1 and (a.axis != b.axis or shared != sorted(shared, key=ours.index))


def _read(pairs: int, seed: int) -> Iterator[Pair]:
    owner: dict[str, Split] = {}
    for number, (split, share) in enumerate(SHARES.items()):
        for index in range(max(2, round(share * pairs))):
            random = np.random.default_rng((seed, number, index))
            yield _pair(f"{split}-{index:05d}", split, random, owner)


def _pair(id: str, split: Split, random: np.random.Generator, owner: dict[str, Split]) -> Pair:
    """A pair whose descriptions are in no other split, sampled until one is found."""
    while True:
        a = _scene(random)
        b = _changed(a, random)
        texts = describe(a, random), describe(b, random)
        if all(owner.setdefault(text, split) == split for text in texts):
            return Pair(id, *texts, round(similarity(a, b), 6), split, entailment(a, b))


def _scene(random: np.random.Generator) -> Scene:
    shapes = random.choice(SHAPES, size=random.integers(2, 4), replace=False).tolist()
    return Scene(tuple(_thing(shape, random) for shape in shapes), int(random.integers(2)))


def _thing(shape: str, random: np.random.Generator) -> Thing:
    return Thing(shape, int(random.integers(2)), str(random.choice(COLOURS)))


def _changed(scene: Scene, random: np.random.Generator) -> Scene:
    """A fifth: any other scene. Otherwise the same after none to four changes, half of which keep the words."""
    if random.random() < 0.2:
        return _scene(random)
    changes = (_exchange, _exchange, _exchange, _reorder, _recolour, _resize, _replace, _turn)
    for change in random.choice(len(changes), size=random.integers(0, 5)):
        scene = changes[change](scene, random)
    return scene


def _exchange(scene: Scene, random: np.random.Generator) -> Scene:
    """Two things swap their colour, their size, or both: the same words."""
    things = list(scene.things)
    i, j = random.choice(len(things), size=2, replace=False)
    a, b = things[i], things[j]
    for field in (("colour",), ("size",), ("colour", "size"))[random.integers(3)]:
        a, b = a._replace(**{field: getattr(b, field)}), b._replace(**{field: getattr(a, field)})
    things[i], things[j] = a, b
    return scene._replace(things=tuple(things))


def _reorder(scene: Scene, random: np.random.Generator) -> Scene:
    """The same things in another order: the same words."""
    order = random.permutation(len(scene.things))
    return scene._replace(things=tuple(scene.things[i] for i in order))


def _recolour(scene: Scene, random: np.random.Generator) -> Scene:
    return _with(scene, random, colour=str(random.choice(COLOURS)))


def _resize(scene: Scene, random: np.random.Generator) -> Scene:
    return _with(scene, random, size=int(random.integers(2)))


def _replace(scene: Scene, random: np.random.Generator) -> Scene:
    free = [shape for shape in SHAPES if shape not in {thing.shape for thing in scene.things}]
    return _with(scene, random, shape=str(random.choice(free)))


def _turn(scene: Scene, random: np.random.Generator) -> Scene:
    return scene._replace(axis=1 - scene.axis)


def _with(scene: Scene, random: np.random.Generator, **change: Any) -> Scene:
    things = list(scene.things)
    index = random.integers(len(things))
    things[index] = things[index]._replace(**change)
    return scene._replace(things=tuple(things))


def describe(scene: Scene, random: np.random.Generator) -> str:
    """All facts of a scene in words: from the first thing to the last or the other way round."""
    things, (before, after) = scene.things, RELATIONS[scene.axis]
    if random.random() < 0.5:
        things, before = things[::-1], after
    phrases = [_phrase(thing, random) for thing in things]
    opening = f"the {phrases[0]} {random.choice(VERBS)}" if random.random() < 0.5 else f"there is a {phrases[0]}"
    if len(things) == 2:
        return f"{opening} {before} the {phrases[1]}"
    link = f"{random.choice(('which', 'that'))} {random.choice(VERBS)} {before}"
    return f"{opening} {before} the {phrases[1]} {link} the {phrases[2]}"


def _phrase(thing: Thing, random: np.random.Generator) -> str:
    return f"{random.choice(SIZES[thing.size])} {thing.colour} {thing.shape}"
