"""Dates, times, quantities, prices and places in two languages, written by CLDR's rules (through Babel). No download.

A sentence expresses pairs of contents: a day and a year, a number and a unit, a number and a currency, two places, a
place and one of the others. The split is by pair: the hash of a pair assigns it to train, val or test, and a sentence
of train has pairs of train only. So each name and each month has been seen in training, but never with that number,
year or place. Numbers of up to four digits before the point are sampled freely: the model must copy them.
"""

import datetime
import hashlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import babel
import numpy as np
from babel import Locale
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.lists import format_list
from babel.numbers import format_currency, get_territory_currencies
from babel.units import UnknownUnitError, format_unit

from unroll.data.source import SPLITS, Split
from unroll.errors import UserError

from . import Pair, Source
from .locales import locale

VERSION = 1
"""part of the specification: raise it when the same settings give other pairs"""
UNITS = (
    "length-kilometer", "length-meter", "length-centimeter", "length-millimeter", "length-mile", "length-foot",
    "length-inch", "length-light-year", "mass-kilogram", "mass-gram", "mass-pound", "mass-ounce", "volume-liter",
    "volume-milliliter", "volume-cubic-meter", "area-square-kilometer", "area-square-meter", "area-hectare",
    "duration-year", "duration-month", "duration-week", "duration-day", "duration-hour", "duration-minute",
    "duration-second", "speed-kilometer-per-hour", "speed-mile-per-hour", "temperature-celsius",
    "temperature-fahrenheit", "energy-kilowatt-hour", "energy-joule", "power-watt", "power-kilowatt", "electric-volt",
    "electric-ampere", "frequency-hertz", "digital-megabyte", "digital-gigabyte", "pressure-bar", "pressure-pascal",
)  # fmt: skip
SPANS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
NO_PLACES = {"XA", "XB", "ZZ"}
"""codes of no region: two for testing, and the unknown one"""
STYLES = ("full", "long", "medium")
"""of dates; a short one omits the century"""
SHARES: dict[Split, float] = {"train": 1.0, "val": 0.025, "test": 0.05}
"""sentences of each split, relative to train"""
TRIES = 200
"""samples per wanted sentence before giving up: there are not enough different ones"""


class Fact(NamedTuple):
    """What a sentence says."""

    kind: str
    first: Any
    second: Any
    manner: Any = ""
    """how it is expressed: a style, a direction"""


def source(source_locale: str, target_locale: str, sentences: int, seed: int) -> Source:
    """`sentences` pairs to train on; a fortieth as many for val, and a twentieth for test.

    Raises:
        UserError: an unknown locale, or the same one twice.
    """
    locales = (locale(source_locale, "data.source_locale"), locale(target_locale, "data.target_locale"))
    if locales[0] == locales[1]:
        raise UserError(f"data.target_locale={target_locale}: is the source's as well; choose another one")
    names = (str(locales[0]), str(locales[1]))
    spec = {
        "source": "builtin", "version": VERSION, "babel": babel.__version__, "locales": list(names),
        "sentences": sentences, "seed": seed, "split": "by hash of the pair of contents",
    }  # fmt: skip
    return Source(spec, partial(_read, locales, sentences, seed), languages=names)


def split_of(fact: Fact) -> Split:
    """Where a sentence belongs: to test if one of its pairs does, else to val if one does, else to train."""
    parts = [part for part in (fact.first, fact.second) if isinstance(part, Fact)]
    splits = {_hashed(fact), *map(split_of, parts)}
    return "test" if "test" in splits else "val" if "val" in splits else "train"


def _hashed(fact: Fact) -> Split:
    """A tenth of all pairs of contents to test, a twentieth to val, whichever of the two comes first."""
    text = f"{fact.kind}: " + " + ".join(sorted((str(fact.first), str(fact.second))))
    share = hashlib.sha256(text.encode()).digest()[0] / 256
    return "test" if share < 0.1 else "val" if share < 0.15 else "train"


def _read(locales: tuple[Locale, Locale], sentences: int, seed: int) -> Iterator[Pair]:
    random, inventory = np.random.default_rng(seed), Inventory(*locales)
    missing = {split: max(round(sentences * SHARES[split]), 1) for split in SPLITS}
    number = dict.fromkeys(SPLITS, 0)
    seen: set[str] = set()
    for _ in range(TRIES * sentences):
        fact = _draw(inventory, random)
        split = split_of(fact)
        text, translation = (render(fact, one) for one in locales)
        # A sentence that has two meanings in the source language occurs once, with its first meaning.
        if missing[split] and text not in seen:
            seen.add(text)
            yield Pair(f"{split}-{number[split]}", text, translation, split)
            number[split] += 1
            missing[split] -= 1
        if not any(missing.values()):
            return
    raise UserError(f"data.sentences={sentences}: there are not that many different ones; ask for fewer")


class Inventory:
    """The names that both languages have; if the source language has one name for two things, only the first thing."""

    def __init__(self, source: Locale, target: Locale) -> None:
        self.source = source
        known = set(source.territories) & set(target.territories) - NO_PLACES
        places = (code for code in sorted(known) if len(code) == 2)
        self.places = _distinct(places, lambda code: str(source.territories[code]))
        used = sorted({money for place in self.places for money in get_territory_currencies(place)})
        shared = (code for code in used if code in source.currencies and code in target.currencies)
        self.currencies = _distinct(shared, lambda code: str(source.currencies[code]))
        self.units = _distinct((unit for unit in UNITS if _has(source, unit) and _has(target, unit)), str)

    def style(self, date: datetime.date, wanted: str) -> str:
        """The first style that looks like the wanted one in the source language: a date must not be ambiguous."""
        text = format_date(date, wanted, self.source)
        return next(style for style in STYLES if format_date(date, style, self.source) == text)


def _distinct(codes: Iterator[str], name: Callable[[str], str]) -> list[str]:
    first: dict[str, str] = {}
    for code in codes:
        first.setdefault(name(code), code)
    return list(first.values())


def _draw(inventory: Inventory, random: np.random.Generator, listed: bool = True) -> Fact:
    """A fact of any kind; with `listed`, also a place together with another fact."""
    kinds = [_date, _moment, _time, _quantity, _span, _price, _places] + [_listed] * listed
    return kinds[random.integers(len(kinds))](inventory, random)


def _date(inventory: Inventory, random: np.random.Generator) -> Fact:
    day = _day(random)
    style = inventory.style(day, STYLES[random.integers(len(STYLES))])
    return Fact("date", (day.month, day.day), day.year, style)


def _moment(inventory: Inventory, random: np.random.Generator) -> Fact:
    day = _day(random)
    return Fact("moment", Fact("date", (day.month, day.day), day.year, "medium"), _time(inventory, random))


def _time(inventory: Inventory, random: np.random.Generator) -> Fact:
    return Fact("time", int(random.integers(24)), int(random.integers(60)))


def _quantity(inventory: Inventory, random: np.random.Generator) -> Fact:
    return Fact("quantity", _number(random), _one(inventory.units, random))


def _span(inventory: Inventory, random: np.random.Generator) -> Fact:
    return Fact("span", int(random.integers(1, 100)), _one(list(SPANS), random), int(random.choice((-1, 1))))


def _price(inventory: Inventory, random: np.random.Generator) -> Fact:
    return Fact("price", _number(random), _one(inventory.currencies, random))


def _places(inventory: Inventory, random: np.random.Generator) -> Fact:
    first, second = random.choice(len(inventory.places), 2, replace=False)
    return Fact("places", inventory.places[first], inventory.places[second], _one(["standard", "or"], random))


def _listed(inventory: Inventory, random: np.random.Generator) -> Fact:
    return Fact("listed", _one(inventory.places, random), _draw(inventory, random, listed=False))


def _one(names: list[str], random: np.random.Generator) -> str:
    return names[random.integers(len(names))]


def _day(random: np.random.Generator) -> datetime.date:
    return datetime.date(1950, 1, 1) + datetime.timedelta(days=int(random.integers(36_500)))


def _number(random: np.random.Generator) -> str:
    """One to four digits, sometimes with one or two more after the point; as text, so that 3.50 stays 3.50."""
    whole = int(random.integers(1, 10 ** int(random.integers(1, 5))))
    places = int(random.choice((0, 0, 1, 2)))
    return f"{whole}.{random.integers(10**places):0{places}d}" if places else str(whole)


def render(fact: Fact, language: Locale) -> str:
    """The fact in words of that language."""
    first, second = fact.first, fact.second
    text: str | None
    match fact.kind:
        case "date":
            text = format_date(_date_of(fact), fact.manner, language)
        case "time":
            text = format_time(_time_of(fact), "short", locale=language)
        case "moment":
            moment = datetime.datetime.combine(_date_of(first), _time_of(second))
            text = format_datetime(moment, "medium", locale=language)
        case "quantity":
            text = _measure(language, Decimal(first), second)
        case "span":
            time = datetime.timedelta(seconds=fact.manner * first * SPANS[second])
            text = format_timedelta(time, second, threshold=10**9, add_direction=True, locale=language)
        case "price":
            text = format_currency(Decimal(first), second, format_type="name", locale=language)
        case "places":
            text = format_list(
                [language.territories[first], language.territories[second]], fact.manner, locale=language
            )
        case _:
            text = format_list([language.territories[first], render(second, language)], locale=language)
    return str(text)


def _date_of(fact: Fact) -> datetime.date:
    return datetime.date(fact.second, *fact.first)


def _time_of(fact: Fact) -> datetime.time:
    return datetime.time(fact.first, fact.second)


def _has(language: Locale, unit: str) -> bool:
    return all(_measure(language, number, unit) for number in (Decimal(1), Decimal(2), Decimal(5), Decimal("1.5")))


def _measure(language: Locale, number: Decimal, unit: str) -> str | None:
    """Number and unit, spelled out or short; None if the language has neither (Babel then writes the unit's code)."""
    for length in ("long", "short"):
        try:
            text = str(format_unit(number, unit, length, locale=language))
        except UnknownUnitError:
            return None
        if unit not in text:
            return text
    return None
