"""The progress of a training in the terminal."""

import time
from collections.abc import Mapping
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn

from unroll.app import App
from unroll.console import console, duration, number, say
from unroll.training.progress import Observer, Position


class ProgressLine(Observer):
    """An `Observer` of the training loop: one live line on a terminal, one line per evaluation everywhere.

    Args:
        app: for the names of its score and its unit.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._progress = Progress(
            BarColumn(bar_width=20), TextColumn("{task.description}", markup=False), console=console, transient=True,
            refresh_per_second=4,
        )  # fmt: skip
        self._task = self._progress.add_task("starting", total=1.0)
        self._score = "-"
        self._loss: float | None = None
        self._rate = 0.0
        self._first: tuple[float, float] | None = None
        self._seen = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        """Observer: smooths loss and throughput and moves the line on."""
        now = time.monotonic()
        loss, rate = metrics["train/loss"], size / max(now - self._seen, 1e-9)
        self._seen = now
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._rate = rate if not self._rate else 0.95 * self._rate + 0.05 * rate
        self._first = self._first or (at.share, at.seconds)
        self._progress.update(self._task, completed=at.share, description=self._line(at))

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """Observer: a lasting line for each evaluation."""
        self._score = number(metrics[f"val/{self.app.score.name}"])
        self._seen = time.monotonic()  # an evaluation is no training time
        shown = "  ".join(f"{name} {number(value)}" for name, value in list(metrics.items())[:3])
        loss = "-" if self._loss is None else f"{self._loss:.4f}"
        mark = "  best" if best else ""
        say(f"epoch {at.epoch:>3}{_wanted(at)}  {duration(at.seconds):>7}  loss {loss}  {shown}{mark}")

    def _line(self, at: Position) -> str:
        return (
            f"epoch {at.epoch}{_wanted(at)}  loss {self._loss:.4f}  {self.app.score.name} {self._score}  "
            f"{number(round(self._rate))} {self.app.unit}/s  {self._remaining(at)} left"
        )

    def _remaining(self, at: Position) -> str:
        assert self._first is not None
        share, seconds = self._first
        if at.share <= share:
            return "?"
        return duration((at.seconds - seconds) / (at.share - share) * (1 - at.share))


def _wanted(at: Position) -> str:
    return f"/{at.epochs}" if at.epochs else ""
