"""What people read in the terminal: configuration, the live progress line, tables, predictions."""

import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from unroll.app import App
from unroll.config import Config, describe, flat
from unroll.errors import harmless

if TYPE_CHECKING:
    from unroll.training.loop import Position

WIDE = 110
"""columns from which on help texts stand beside the settings"""

# Into a file or a pipe, tables are as wide as they need to be within reason, not 80 columns.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def say(text: str = "") -> None:
    """A line, as it is: square brackets in it are no markup, and nothing in it steers the terminal."""
    console.print(Text(harmless(text)))


def show_config(app: App, config: Config) -> None:
    """The whole configuration; what differs from the default preset is marked."""
    usual, here = flat(app.presets["default"]), flat(config)
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value, help_text in describe(config):
        style = "bold" if here[key] != usual.get(key) else ""
        row = [Text(key, style=style), Text(harmless(str(value)), style=style)]
        table.add_row(*row, *([Text(help_text, style="dim")] if console.width >= WIDE else []))
    console.print(table)


def show_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same keys as a table; numbers to four significant digits, aligned right."""
    if not rows:
        return
    table = Table(title=Text(harmless(title)), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        numeric = any(isinstance(row[key], int | float) for row in rows)
        table.add_column(Text(harmless(key)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(number(value))) for value in row.values()))
    console.print(table)


def show_metrics(title: str, columns: Mapping[str, Mapping[str, float]]) -> None:
    """One row per metric, one column per method; a metric that a method has not is left empty."""
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    show_table(title, [{"metric": n, **{column: m.get(n, "") for column, m in columns.items()}} for n in names])


def show_predictions(records: Iterable[Mapping[str, Any]]) -> None:
    """A few records to read: what was wanted, what came."""
    for record in records:
        say(f"  {record['id']}")
        say(f"    wanted  {record.get('reference', '')}")
        say(f"    got     {record.get('prediction', '')}")


def number(value: Any) -> str:
    """A number with four significant digits, a large one with separators; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """1:05 or 2:01:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
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

    def step(self, at: "Position", size: float, metrics: Mapping[str, float]) -> None:
        """Observer: smooths loss and throughput and moves the line on."""
        now = time.monotonic()
        loss, rate = metrics["train/loss"], size / max(now - self._seen, 1e-9)
        self._seen = now
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._rate = rate if not self._rate else 0.95 * self._rate + 0.05 * rate
        self._first = self._first or (at.share, at.seconds)
        self._progress.update(self._task, completed=at.share, description=self._line(at))

    def evaluated(self, at: "Position", metrics: Mapping[str, float], best: bool) -> None:
        """Observer: a lasting line for each evaluation."""
        self._score = number(metrics[f"val/{self.app.score.name}"])
        self._seen = time.monotonic()  # an evaluation is no training time
        shown = "  ".join(f"{name} {number(value)}" for name, value in list(metrics.items())[:3])
        loss = "-" if self._loss is None else f"{self._loss:.4f}"
        mark = "  best" if best else ""
        say(f"epoch {at.epoch:>3}{_wanted(at)}  {duration(at.seconds):>7}  loss {loss}  {shown}{mark}")

    def saving(self) -> None:
        """Observer: nothing to show."""

    def _line(self, at: "Position") -> str:
        return (
            f"epoch {at.epoch}{_wanted(at)}  loss {self._loss:.4f}  {self.app.score.name} {self._score}  "
            f"{number(round(self._rate))} {self.app.unit}/s  {self._remaining(at)} left"
        )

    def _remaining(self, at: "Position") -> str:
        assert self._first is not None
        share, seconds = self._first
        if at.share <= share:
            return "?"
        return duration((at.seconds - seconds) / (at.share - share) * (1 - at.share))


def _wanted(at: "Position") -> str:
    return f"/{at.epochs}" if at.epochs else ""
