"""Sentences about scenes, and what such sentences claim.

A caption is a list ("a large red circle in the top left and a small striped square at the bottom") or says where one
thing is relative to others ("a red circle is left of a small square with stripes and above a ring"). As people do, it
sometimes omits facts; what it says is true.
"""

import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .scenes import COLOURS, SHAPES, TEXTURES, Scene, Thing

FACTS = ("shape", "colour", "size", "texture", "place")
"""what can be said of one thing"""
SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {name: (name,) for name in SHAPES} | {"circle": ("circle", "disc"), "square": ("square", "box")},
    "colour": {name: (name,) for name in COLOURS},
    "size": {"small": ("small", "little"), "large": ("large", "big")},
    "texture": {
        "plain": ("plain",), "striped": ("striped", "with stripes"), "dotted": ("dotted", "with dots"),
    },
    "place": {
        "0 0": ("in the top left", "in the upper left"), "0 1": ("at the top",),
        "0 2": ("in the top right", "in the upper right"),
        "1 0": ("on the left",), "1 1": ("in the middle", "in the centre"), "1 2": ("on the right",),
        "2 0": ("in the bottom left", "in the lower left"), "2 1": ("at the bottom",),
        "2 2": ("in the bottom right", "in the lower right"),
    },
}  # fmt: skip
"""kind of fact -> its value -> the words for it"""
MEANING = {kind: {words: value for value, several in said.items() for words in several} for kind, said in SAID.items()}
SAID_OF = {"size": 0.85, "plain": 0.4, "texture": 0.9}
"""how often these are mentioned; all other facts always are"""
RELATED = 0.2
"""share of the captions of two or three things that say where one is relative to the others"""
PLACE_FIRST = 0.6
"""share of lists that name the place before the thing"""
OPENED = 0.3
"""share of the other lists that begin with "there is" """


class Claims(NamedTuple):
    """What a caption says."""

    things: tuple[dict[str, str], ...]
    """of each thing mentioned: kind of fact -> value"""
    relations: tuple[tuple[int, str, int], ...]
    """(thing, "left of", "right of", "above" or "below", thing)"""


class Judgement(NamedTuple):
    """A caption compared with its scene."""

    true: int
    """claims that hold"""
    stated: int
    """claims"""
    told: int
    """facts of the things in the picture that the caption states"""
    facts: int
    """facts of the things in the picture: five for each"""


def describe(scene: Scene, random: np.random.Generator) -> str:
    """One caption of a scene; everything it says is true."""
    if len(scene) > 1 and random.random() < RELATED:
        return _related(scene, random)
    first = random.random() < PLACE_FIRST
    parts = []
    for thing in scene:
        named, place = _named(thing, random), _words("place", f"{thing.row} {thing.column}", random)
        parts.append(f"{place} {named}" if first else f"{named} {place}")
    opening = "there is " if not first and random.random() < OPENED else ""
    return opening + " and ".join(parts)


def parse(caption: str) -> Claims | None:
    """What a caption claims; None if the grammar cannot parse it."""
    things: list[dict[str, str]] = []
    relations: list[tuple[int, str, int]] = []
    subject: int | None = None
    for part in caption.removeprefix("there is ").split(" and "):
        if listed := _LISTED.fullmatch(part):
            things.append(_claimed(listed.group("thing")))
            if place := listed.group("before") or listed.group("after"):
                things[-1]["place"] = MEANING["place"][place]
            subject = None
        elif stands := _STANDS.fullmatch(part):
            if subject is None or stands.group("subject"):
                if not stands.group("subject"):
                    return None
                things.append(_claimed(stands.group("subject")))
                subject = len(things) - 1
            things.append(_claimed(stands.group("other")))
            relations.append((subject, stands.group("relation"), len(things) - 1))
        else:
            return None
    return Claims(tuple(things), tuple(relations))


def judge(caption: str, scene: Scene) -> Judgement:
    """How much of a caption is true, and how much of the scene it tells.

    Each mention is matched with a different thing of the scene, by the assignment under which most claims hold. In a
    caption that cannot be parsed, every word that could state a fact counts as a false claim.
    """
    facts = len(FACTS) * len(scene)
    claims = parse(caption)
    if claims is None:
        return Judgement(0, max(1, len(_FACT.findall(caption))), 0, facts)
    stated = sum(map(len, claims.things)) + len(claims.relations)
    mentioned = len(claims.things)
    # For each thing of the scene, the mention matched with it; a number beyond the mentions: none.
    takings = itertools.permutations(range(max(mentioned, len(scene))), len(scene))
    told, related = max((_held(claims, scene, taking) for taking in takings), key=sum)
    return Judgement(told + related, stated, told, facts)


def truths(thing: Thing) -> dict[str, str]:
    """Kind of fact -> what is true of a thing."""
    return {
        "shape": thing.shape, "colour": thing.colour, "size": thing.size,
        "texture": thing.texture, "place": f"{thing.row} {thing.column}",
    }  # fmt: skip


def relations(one: Thing, other: Thing) -> list[str]:
    """Where one thing is relative to another: one or two of left of, right of, above, below."""
    found = [("left of", one.column < other.column), ("right of", one.column > other.column)]
    found += [("above", one.row < other.row), ("below", one.row > other.row)]
    return [name for name, holds in found if holds]


def _held(claims: Claims, scene: Scene, taking: tuple[int, ...]) -> tuple[int, int]:
    """Claims that hold when mention taking[i] means thing i: (of the things, of their relations)."""
    meant = {mention: thing for mention, thing in zip(taking, scene, strict=True) if mention < len(claims.things)}
    told = sum(
        truths(thing)[kind] == value
        for mention, thing in meant.items()
        for kind, value in claims.things[mention].items()
    )
    related = sum(
        one in meant and other in meant and relation in relations(meant[one], meant[other])
        for one, relation, other in claims.relations
    )
    return told, related


def _related(scene: Scene, random: np.random.Generator) -> str:
    subject = scene[random.integers(len(scene))]
    parts = [
        f"{random.choice(relations(subject, other))} {_named(other, random)}" for other in scene if other != subject
    ]
    return f"{_named(subject, random)} is {' and '.join(parts)}"


def _named(thing: Thing, random: np.random.Generator) -> str:
    """The thing without its place: "a small striped red circle", "a red circle with stripes"."""
    words = [thing.colour, _words("shape", thing.shape, random)]
    if random.random() < SAID_OF["plain" if thing.texture == "plain" else "texture"]:
        texture = _words("texture", thing.texture, random)
        words = [*words, texture] if texture.startswith("with") else [texture, *words]
    if random.random() < SAID_OF["size"]:
        words = [_words("size", thing.size, random), *words]
    return " ".join([_article(words[0]), *words])


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _words(kind: str, value: str, random: np.random.Generator) -> str:
    return str(random.choice(SAID[kind][value]))


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _claimed(thing: str) -> dict[str, str]:
    """The facts in "a small striped red circle"."""
    match = _THING.fullmatch(thing)
    assert match is not None
    found = {kind: MEANING[kind][words] for kind, words in match.groupdict().items() if words and kind != "pattern"}
    return found | ({"texture": MEANING["texture"][match["pattern"]]} if match["pattern"] else {})


_PATTERNS = [words for words in MEANING["texture"] if words.startswith("with")]
_THING = re.compile(
    rf"an? (?:(?P<size>{_any(MEANING['size'])}) )?(?:(?P<texture>{_any(TEXTURES)}) )?"
    rf"(?P<colour>{_any(COLOURS)}) (?P<shape>{_any(MEANING['shape'])})(?: (?P<pattern>{_any(_PATTERNS)}))?"
)
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _THING.pattern)
_PLACE = _any(MEANING["place"])
_LISTED = re.compile(rf"(?:(?P<before>{_PLACE}) )?(?P<thing>{_UNNAMED})(?: (?P<after>{_PLACE}))?")
_STANDS = re.compile(
    rf"(?:(?P<subject>{_UNNAMED}) is )?(?P<relation>left of|right of|above|below) (?P<other>{_UNNAMED})"
)
_FACT = re.compile(
    rf"\b(?:{_any(words for kind in MEANING.values() for words in kind)}|left of|right of|above|below)\b"
)
