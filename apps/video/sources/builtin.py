"""Scikit-learn's handwritten digits, moving over a textured background: a named motion, or two digits that bounce.

Splits share neither digit images nor random numbers: train draws from the first 70 % of the 1,797 images, val from the
next 15 %, test from the rest, and clip n of a split is a function of (seed, split, n) alone.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from unroll.data.source import SPLITS

from . import Clip, Frames, Source

DIRECTIONS = {"left": 180.0, "right": 0.0, "up": 270.0, "down": 90.0}
"""degrees from the x axis towards the y axis, which points down in a picture"""
TURNS = {"clockwise": 1.0, "anticlockwise": -1.0}
MOTIONS = (*DIRECTIONS, *TURNS, "bouncing", "crossing")
SHARES = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
"""range of the digit images, in the order of the data set"""
SHORTEST, LONGEST = 10, 20
"""number of frames of a clip with a named motion"""
BRIGHTEST = 0.4
"""of the background; digits are white"""
MARGIN = 4.0
"""pixels between the centre of a bouncing digit and the border"""

Array = NDArray[np.float64]


class Mover(NamedTuple):
    """A digit and its position in each frame."""

    image: Array
    """opacity of the digit, 0 to 1, [8, 8]"""
    places: Array
    """centre (y, x) in pixels, [T, 2]"""
    angles: Array
    """radians, clockwise on the screen, [T]"""
    scale: float
    """pixels of the frame for each pixel of the image"""


def source(task: Literal["motions", "bouncing"], clips: int, seed: int, size: int, *, length: int = LONGEST) -> Source:
    """`clips` training clips, and a tenth and a fifth as many for val and test.

    Args:
        task: motions: one of MOTIONS in each clip, which is its label, over 10 to 20 frames, in half of the clips with
            a second digit that does not move; bouncing: two digits reflected by the borders, no label.
        clips: number of training clips.
        seed: random seed.
        size: side of the square frames, in pixels.
        length: number of frames of a clip of two bouncing digits.
    """
    spec = {"source": "builtin", "task": task, "clips": clips, "seed": seed, "size": size, "version": 1}
    spec["split"] = "by image of a digit"
    if task == "bouncing":
        spec["length"] = length
    return Source(spec, partial(_read, task, clips, seed, size, length))


def _read(task: str, clips: int, seed: int, size: int, length: int) -> Iterator[Clip]:
    for number, split in enumerate(SPLITS):
        count = {"train": clips, "val": max(clips // 10, 8), "test": max(clips // 5, 8)}[split]
        start, end = (round(share * len(_digits())) for share in SHARES[split])
        for index in range(count):
            random = np.random.default_rng([seed, number, index])
            digits = _digits()[start + random.permutation(end - start)[:2]]
            motion = MOTIONS[index % len(MOTIONS)] if task == "motions" else ""
            movers = named(motion, digits, size, random) if motion else bouncing_pair(digits, size, length, random)
            yield Clip(f"{split} {index} {motion}".strip(), motion, split, render(ground(size, random), movers))


@cache
def _digits() -> Array:
    from sklearn.datasets import load_digits

    images: Array = load_digits().images / 16
    return images


def named(motion: str, digits: Array, size: int, random: Generator) -> list[Mover]:
    """The movers of a clip of 10 to 20 frames with this motion; `digits` are two images, [2, 8, 8]."""
    times = np.arange(random.integers(SHORTEST, LONGEST + 1))
    scale = random.uniform(1.0, 1.4)
    rest = np.zeros(len(times))
    if motion == "crossing":
        return [
            Mover(digit, path, rest, scale) for digit, path in zip(digits, _crossing(times, size, random), strict=True)
        ]
    if motion in TURNS:
        place = np.tile(random.uniform(0.3 * size, 0.7 * size, 2), (len(times), 1))
        start, speed = random.uniform(-0.5, 0.5), np.radians(random.uniform(8, 16))
        movers = [Mover(digits[0], place, start + TURNS[motion] * speed * times, scale)]
    elif motion == "bouncing":
        movers = [Mover(digits[0], _bouncing(times, size, random, turns=1), rest, scale)]
    else:
        movers = [Mover(digits[0], _straight(times, DIRECTIONS[motion], size, random), rest, scale)]
    if random.random() < 0.5:
        place = np.tile(random.uniform(MARGIN, size - MARGIN, 2), (len(times), 1))
        movers.append(Mover(digits[1], place, rest, random.uniform(1.0, 1.4)))
    return movers


def bouncing_pair(digits: Array, size: int, length: int, random: Generator) -> list[Mover]:
    """Two digits, reflected by the borders, over `length` frames."""
    times = np.arange(length)
    return [Mover(digit, _bouncing(times, size, random), np.zeros(length), 1.0) for digit in digits]


def _straight(times: NDArray[np.int64], degrees: float, size: int, random: Generator) -> Array:
    """A path near the centre of the frame halfway through the clip, up to 15 degrees off the direction."""
    direction = _unit(degrees + random.uniform(-15, 15))
    middle = size / 2 + random.uniform(-size / 6, size / 6, 2)
    return middle + np.outer(times - times.mean(), direction) * random.uniform(0.5, 1.2)


def _crossing(times: NDArray[np.int64], size: int, random: Generator) -> list[Array]:
    """Two paths in opposite directions that pass close to each other near the middle of the clip."""
    degrees, speed = random.uniform(0, 360), random.uniform(0.7, 1.2)
    along, across = _unit(degrees), _unit(degrees + 90)
    meeting = size / 2 + random.uniform(-2, 2, 2)
    steps = times - times.mean() - random.uniform(-1, 1)
    apart = random.uniform(-2, 2, 2)
    return [
        meeting + np.outer(sign * speed * steps, along) + offset * across
        for sign, offset in zip((1, -1), apart, strict=True)
    ]


def _bouncing(times: NDArray[np.int64], size: int, random: Generator, turns: int = 0) -> Array:
    """A straight path reflected at the borders; with `turns`, at least that many reflections well inside the clip."""
    span = size - 2 * MARGIN
    while True:
        start = random.uniform(0, span, 2)
        folded = (start + np.outer(times, _unit(random.uniform(0, 360)) * random.uniform(0.8, 1.6))) % (2 * span)
        path: Array = MARGIN + span - np.abs(folded - span)
        if (np.diff(np.sign(np.diff(path[2:-2], axis=0)), axis=0) != 0).sum() >= turns:
            return path


def _unit(degrees: float) -> Array:
    """(y, x)."""
    return np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])


def ground(size: int, random: Generator) -> Array:
    """A background of smooth noise of random scale, from black to BRIGHTEST: [size, size]."""
    noise = gaussian_filter(random.random((size, size)), random.uniform(0.7, 2.0), mode="wrap")
    noise -= noise.min()
    shades: Array = noise * (BRIGHTEST * random.uniform(0.5, 1.0) / noise.max())
    return shades


def render(below: Array, movers: list[Mover]) -> Frames:
    """White digits with the opacity of their images, over the background [Y, X]: frames [T, 1, Y, X]."""
    light = 1 - np.broadcast_to(below, (len(movers[0].places), *below.shape))
    for mover in movers:
        light = light * (1 - _drawn(mover, below.shape))
    return np.round(255 * (1 - light)).astype(np.uint8)[:, None]


def _drawn(mover: Mover, shape: tuple[int, ...]) -> Array:
    """The digit's image at each position and angle, with linear interpolation: [T, Y, X]."""
    y, x = (axis + 0.5 - place[:, None, None] for axis, place in zip(np.indices(shape), mover.places.T, strict=True))
    cos, sin = (f(mover.angles)[:, None, None] for f in (np.cos, np.sin))
    middle = (np.array(mover.image.shape) - 1) / 2
    at = np.stack([(cos * y - sin * x) / mover.scale + middle[0], (sin * y + cos * x) / mover.scale + middle[1]])
    drawn: Array = map_coordinates(mover.image, at, order=1, mode="grid-constant")
    return drawn
