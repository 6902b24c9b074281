"""Trying a remedy: the same seeds, the same data order, a short budget, and intervals over the seeds."""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.fabric import seed_everything
from scipy.special import stdtrit
from torch import nn

from unroll.app import App, Data, Report, Score
from unroll.config import Config
from unroll.diagnosis.probe import probe
from unroll.diagnosis.remedies import Remedy
from unroll.diagnosis.verdict import classify, worst
from unroll.training.evaluation import mean_loss
from unroll.training.loop import fit
from unroll.training.progress import Observer, Position


@dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
        loss: mean over held-out batches.
        reach, growth: of its worst network; `unroll.diagnosis.verdict.Finding`.
        kind: its verdict.
        seconds: training time.
    """

    loss: float
    reach: float
    growth: float
    kind: str
    seconds: float


@dataclass(frozen=True)
class Tried:
    """A remedy (None: nothing changed), and its outcome for each seed."""

    remedy: Remedy | None
    outcomes: list[Outcome]

    @property
    def name(self) -> str:
        """For people."""
        return "as it is" if self.remedy is None else self.remedy.name

    def mean(self, what: str) -> tuple[float, float, float]:
        """Mean over seeds of "loss", "reach", "growth" or "seconds", with its 95 % interval."""
        return interval([getattr(outcome, what) for outcome in self.outcomes])

    def gain(self, before: "Tried") -> tuple[float, float, float]:
        """By how much the loss changed, seed by seed, with the interval of the mean; below 0 is better."""
        pairs = zip(self.outcomes, before.outcomes, strict=True)
        return interval([after.loss - first.loss for after, first in pairs])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t; infinitely wide for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, -math.inf, math.inf
    wide = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - wide, mean + wide


def recommended(tried: Sequence[Tried]) -> Tried | None:
    """The remedy whose loss is lowest of those that are better than nothing with their whole interval."""
    before, *others = tried
    proved = [one for one in others if one.gain(before)[2] < 0]
    return min(proved, key=lambda one: one.gain(before)[0], default=None)


def attempt(
    app: App, config: Config, load: Callable[[Config], Data], remedy: Remedy | None, *, steps: int, seeds: Sequence[int]
) -> Tried:
    """Train from scratch for that many steps, once per seed. The data order depends only on the seed, not the remedy.

    Args:
        app: the application.
        config: as it is now.
        load: from a configuration to its data; the sources are prepared.
        remedy: what to change.
        steps: optimiser steps.
        seeds: of the weights and the data order.
    """
    settings = remedy.settings if remedy else ()
    return Tried(remedy, [_train(app, config.override(_short(settings, seed)), load, remedy, steps) for seed in seeds])


def _short(settings: Sequence[str], seed: int) -> list[str]:
    plain = ("train.epochs=1", "train.evaluate_every=1", "train.minutes=0", "train.patience=0", "train.probe_every=0")
    return [*settings, f"train.seed={seed}", *plain]


def _train(app: App, config: Config, load: Callable[[Config], Data], remedy: Remedy | None, steps: int) -> Outcome:
    data = load(config)
    train = _First(data.train, steps * config.train.accumulate)
    epochs = -(-steps * config.train.accumulate // len(train))
    config = config.override([f"train.epochs={epochs}"])
    held_out = list(islice(data.val, 8))
    seed_everything(config.train.seed, verbose=False)
    model = app.network(config, data.facts)
    if remedy and remedy.change:
        remedy.change(model)
    judged = replace(app, score=Score("loss", "min"), evaluate=lambda model, _: _loss(app, model, held_out))
    with tempfile.TemporaryDirectory() as folder:
        clock = _Clock()
        fit(judged, config, replace(data, train=train, val=held_out), model, Path(folder), [clock])
    finding = worst([classify(network) for network in probe(app, model, held_out[0])])
    loss = mean_loss(app, model, held_out)
    return Outcome(loss, finding.reach, finding.growth[0], finding.kind, clock.seconds)


def _loss(app: App, model: nn.Module, batches: Sequence[Any]) -> Report:
    return Report({"loss": mean_loss(app, model, batches)}, [])


class _First:
    """The first batches of a loader, in each of its epochs."""

    def __init__(self, loader: Any, many: int) -> None:
        self.loader, self.many = loader, many
        self.batch_sampler = getattr(loader, "batch_sampler", None)

    def __len__(self) -> int:
        return min(self.many, len(self.loader))

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.loader), self.many)


class _Clock(Observer):
    """Keeps the training time."""

    seconds = 0.0

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        self.seconds = at.seconds
