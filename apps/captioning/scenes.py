"""Built-in pictures: one to three things on a plain background, drawn by Pillow.

A thing has a shape, a colour, a size, a texture and a place, one of nine. One in six combinations of shape, colour and
texture is in no picture of train and val (see `is_held_out`), and every picture of test shows at least one of them. All
pairs (a red circle, a red striped thing, a striped circle) are seen. No setting was chosen by results on what is held
out.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from unroll.data.source import Split

SIDE = 48
"""pixels"""
FINE = 4
"""supersampling: drawn this many times larger, then averaged"""
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (214, 39, 40), "orange": (255, 140, 20), "yellow": (240, 220, 30),
    "green": (40, 160, 60), "blue": (40, 90, 220), "purple": (150, 60, 190),
}  # fmt: skip
SIZES = {"small": 4.6, "large": 7.4}
"""half the width in pixels"""
TEXTURES = ("plain", "striped", "dotted")
ROWS = COLUMNS = 3
MANY = (0.4, 0.35, 0.25)
"""shares of pictures with one, two and three things"""


class Thing(NamedTuple):
    """One of the things in a picture."""

    shape: str
    colour: str
    size: str
    texture: str
    row: int
    """0 at the top"""
    column: int
    """0 on the left"""


Scene = tuple[Thing, ...]
"""in reading order: from the top, and from the left"""


def is_held_out(thing: Thing) -> bool:
    """Whether only test shows this combination: shape + colour + 2 texture, by their numbers, is divisible by six."""
    numbers = SHAPES.index(thing.shape), list(COLOURS).index(thing.colour), 2 * TEXTURES.index(thing.texture)
    return sum(numbers) % 6 == 0


def compose(split: Split, random: np.random.Generator) -> Scene:
    """A random scene. Those of test have one held-out combination; their other things are as in train."""
    places = random.choice(ROWS * COLUMNS, size=random.choice(3, p=MANY) + 1, replace=False).tolist()
    unseen = int(random.integers(len(places))) if split == "test" else None
    things = [_thing(place, random, held_out=number == unseen) for number, place in enumerate(places)]
    return tuple(sorted(things, key=lambda thing: (thing.row, thing.column)))


def _thing(place: int, random: np.random.Generator, *, held_out: bool) -> Thing:
    """Sampled until it is held out, or is not, as wanted."""
    while True:
        shape, colour, size, texture = (str(random.choice(list(names))) for names in (SHAPES, COLOURS, SIZES, TEXTURES))
        thing = Thing(shape, colour, size, texture, *divmod(place, COLUMNS))
        if is_held_out(thing) == held_out:
            return thing


def draw(scene: Scene, random: np.random.Generator) -> Image.Image:
    """The picture of a scene, RGB: places, colours and background vary a little, and there is noise."""
    side = SIDE * FINE
    ground = tuple(int(level) for level in random.integers(165, 246) + random.integers(-8, 9, 3))
    canvas = Image.new("RGB", (side, side), ground)
    for thing in scene:
        _place(canvas, thing, random)
    small = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return Image.fromarray(np.clip(np.rint(small + random.normal(0, 4, small.shape)), 0, 255).astype(np.uint8))


def _place(canvas: Image.Image, thing: Thing, random: np.random.Generator) -> None:
    cell = canvas.width / COLUMNS
    radius = SIZES[thing.size] * FINE * random.uniform(0.95, 1.05)
    free = cell / 2 - radius
    x, y = ((index + 0.5) * cell + random.uniform(-free, free) for index in (thing.column, thing.row))
    colour = np.clip(np.array(COLOURS[thing.colour]) + random.integers(-14, 15, 3), 0, 255)
    mask = Image.new("L", canvas.size)
    _outline(ImageDraw.Draw(mask), thing.shape, x, y, radius)
    canvas.paste(_rgb(colour), mask=mask)
    canvas.paste(_rgb(colour * 0.3), mask=ImageChops.multiply(mask, _texture(thing.texture, canvas.size, x, y)))


def _rgb(colour: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in colour)
    return red, green, blue


def _outline(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float) -> None:
    """The shape, white on black."""
    match shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        case "square":
            pen.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=255)
        case "triangle":
            pen.polygon([(x, y - r), (x + r, y + 0.85 * r), (x - r, y + 0.85 * r)], fill=255)
        case "star":
            angles = (np.pi * (k / 5 - 0.5) for k in range(10))
            radii = itertools.cycle((1.1 * r, 0.45 * r))
            pen.polygon([(x + b * np.cos(a), y + b * np.sin(a)) for a, b in zip(angles, radii, strict=False)], fill=255)
        case "cross":
            pen.rectangle((x - r, y - 0.32 * r, x + r, y + 0.32 * r), fill=255)
            pen.rectangle((x - 0.32 * r, y - r, x + 0.32 * r, y + r), fill=255)
        case "ring":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
            pen.ellipse((x - 0.5 * r, y - 0.5 * r, x + 0.5 * r, y + 0.5 * r), fill=0)


def _texture(name: str, size: tuple[int, int], x: float, y: float) -> Image.Image:
    """Where the texture darkens, relative to the middle of the thing: white on black."""
    rows, columns = np.ogrid[: size[1], : size[0]]
    down, right = (rows - y) / FINE, (columns - x) / FINE
    if name == "striped":
        dark = (down + 0 * right + 0.9) % 3.6 < 1.8
    elif name == "dotted":
        dark = ((down + 2) % 4 - 2) ** 2 + ((right + 2) % 4 - 2) ** 2 < 1.35**2
    else:
        dark = np.zeros((size[1], size[0]), dtype=bool)
    return Image.fromarray(np.where(dark, 255, 0).astype(np.uint8))
