"""A grid of trainings from settings with several values: `model.cell=elman,lstm,gru`, and from a number of seeds."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from unroll import surface
from unroll.app import App
from unroll.config import Config, flat
from unroll.errors import UserError

OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class GridPoint:
    """One training of a grid.

    Attributes:
        app: its application.
        preset: name.
        settings: `key=value`, one value each.
        config: that they give.
        label: application and what varies, for people.
    """

    app: App
    preset: str
    settings: tuple[str, ...]
    config: Config
    label: str

    @property
    def params(self) -> dict[str, str]:
        """The configuration as the tracking store holds it."""
        return {key: str(value) for key, value in flat(self.config).items()}


def values(text: str) -> list[str]:
    """The values between commas. A comma inside brackets or quotes belongs to its value: `[1,2],[3]` is two lists,
    and `"a,b"` is one text, as JSON reads it.
    """
    found, depth, quoted, begin = [], 0, False, 0
    for place, sign in enumerate(text):
        if sign == '"' and text[place - 1 : place] != "\\":
            quoted = not quoted
        elif not quoted and sign in OPENING + CLOSING:
            depth += 1 if sign in OPENING else -1
        elif sign == "," and not quoted and depth == 0:
            found.append(text[begin:place])
            begin = place + 1
    return [value.strip() for value in (*found, text[begin:])]


def expand(app: App, preset: str, settings: Sequence[str], seeds: int = 0) -> list[GridPoint]:
    """Every combination of the values, in the order in which they are given, the seeds innermost.

    Args:
        app: application.
        preset: name.
        settings: `key=value` or `key=value,value,...`.
        seeds: how many, from the configuration's own upwards; 0: just that one.

    Raises:
        UserError: a setting is wrong, an empty value, or seeds are given in both ways.
    """
    pairs = [setting.partition("=") for setting in settings]
    choices = [[f"{key}={value}" for value in values(text)] if equals else [key] for key, equals, text in pairs]
    for (key, equals, text), own in zip(pairs, choices, strict=True):
        if equals and len(own) > 1 and f"{key}=" in own:
            raise UserError(f"{surface.settings(f'{key}={text}')}: a value is missing between two commas")
    varying = [key for (key, _, _), own in zip(pairs, choices, strict=True) if len(own) > 1]
    if seeds and "train.seed" in varying:
        raise UserError(f"{surface.option('seeds')} and several values of train.seed: give one of them")
    cells = []
    for chosen in map(tuple, itertools.product(*choices)):
        first = app.config(preset, chosen).train.seed
        for seed in range(first, first + max(seeds, 1)):
            single = (*chosen, f"train.seed={seed}") if seeds else chosen
            label = _label(app, single, [*varying, "train.seed"])
            cells.append(GridPoint(app, preset, single, app.config(preset, single), label))
    return list({cell.config.model_dump_json(): cell for cell in cells}.values())


def points(app: App, preset: str, settings: Sequence[str], seeds: int = 0) -> list[GridPoint]:
    """`expand` for a grid of several applications: errors name the one that they are of."""
    try:
        return expand(app, preset, settings, seeds)
    except UserError as error:
        raise UserError(f"{app.name}: {error}") from None


def _label(app: App, settings: Sequence[str], varying: Sequence[str]) -> str:
    return " ".join([app.name, *(setting for setting in settings if setting.partition("=")[0] in varying)])
