"""Default length of training, decided in one place for all applications.

- If train.minutes is set and train.epochs is not, training lasts that many minutes.
- The presets' epochs are those of the data that they were made for. On the user's own (data.path), of which there may
  be 25 or 25,000, a training takes STEPS optimiser steps, or PASSES passes over the data where that is more, and the
  epochs follow from the size of the data. Learning-rate schedules are shares of all steps and follow by themselves. A
  small set is not evaluated after each of a thousand epochs, but EVALUATIONS times, evenly spread; train.patience
  counts those.
- What is given by a setting, or by a preset that has other epochs than the default one, stays as it is.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from unroll import surface
from unroll.app import App, Data
from unroll.config import Config

STEPS = 2000
PASSES = 10
EVALUATIONS = 50
CHOSEN = ("train.epochs", "train.evaluate_every")
"""the settings that `planned` may change"""
FEW = 300
"""optimiser steps below which most networks have hardly begun to learn"""


def planned(app: App, preset: str, settings: Iterable[str], config: Config, data: Data) -> Config:
    """`config` with the number of epochs to train for.

    Args:
        app: for its default preset.
        preset, settings: what the user gave.
        config: made from both.
        data: its splits.
    """
    given = {setting.partition("=")[0].strip() for setting in settings}
    each = steps_an_epoch(config, data)
    if "train.epochs" in given:
        return config
    if "train.minutes" in given and config.train.minutes:
        return config.override(["train.epochs=0"])
    usual = app.presets["default"].train.epochs
    if config.data.path is None or config.train.minutes or app.presets[preset].train.epochs != usual:
        return config
    epochs = max(math.ceil(STEPS / each), min(usual, PASSES))
    every = [] if "train.evaluate_every" in given else [f"train.evaluate_every={math.ceil(epochs / EVALUATIONS)}"]
    return config.override([f"train.epochs={epochs}", *every])


def steps_an_epoch(config: Config, data: Data) -> int:
    """Optimiser steps of one pass over the training split."""
    batches: Any = data.train
    return max(1, math.ceil(len(batches) / config.train.accumulate))


def told(before: Config, config: Config, data: Data) -> Iterator[str]:
    """Messages about the length of the training: a line, and a note if it is short.

    Args:
        before: the configuration as it was given.
        config: as `planned`.
        data: its splits.
    """
    train, each = config.train, steps_an_epoch(config, data)
    clock = [f"{train.minutes:g} minutes"] if train.minutes else []
    if not train.epochs:
        yield f"as many optimiser steps as {train.minutes:g} minutes have time for, {each:,} in an epoch"
        return
    total, epochs = train.epochs * each, "1 epoch" if train.epochs == 1 else f"{train.epochs:,} epochs"
    yield f"{total:,} optimiser steps: {', or '.join([f'{epochs} of {each:,}', *clock])}"
    if train != before.train:
        keys = ("epochs", "evaluate_every")
        chosen = [
            f"train.{key}={getattr(train, key)}" for key in keys if getattr(train, key) != getattr(before.train, key)
        ]
        yield f"{' and '.join(chosen)} for data of your own, which have {each:,} steps in an epoch"
    if total < FEW:
        wanted = math.ceil(STEPS / each)
        longer = surface.settings(f"train.epochs={wanted}")
        yield f"note: {total:,} steps are few to learn from; for about {STEPS:,}: {longer}"
