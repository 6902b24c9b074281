"""Terminal output: configuration, tables, predictions."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unroll.app import App
from unroll.config import Config, describe, flat
from unroll.errors import harmless

WIDE = 110
"""terminal width from which help texts are shown beside the settings"""

# In a file or a pipe, tables may be wider than 80 columns.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def say(text: str = "") -> None:
    """Print a line as it is: square brackets are not markup, and control characters are escaped."""
    console.print(Text(harmless(text)))


@contextmanager
def silent(on: bool = True) -> Iterator[None]:
    """If `on`, print nothing and show no progress within the block."""
    before, console.quiet = console.quiet, console.quiet or on
    try:
        yield
    finally:
        console.quiet = before


def show_config(app: App, config: Config) -> None:
    """Show the whole configuration; differences from the default preset are marked."""
    usual, here = flat(app.presets["default"]), flat(config)
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value, help_text in describe(config):
        style = "bold" if here[key] != usual.get(key) else ""
        row = [Text(key, style=style), Text(harmless(str(value)), style=style)]
        table.add_row(*row, *([Text(help_text, style="dim")] if console.width >= WIDE else []))
    console.print(table)


def show_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Show rows with the same keys as a table; numbers have four significant digits and are aligned right."""
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
    """Show one row per metric, one column per method; missing metrics are left empty."""
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    show_table(title, [{"metric": n, **{column: m.get(n, "") for column, m in columns.items()}} for n in names])


def show_predictions(records: Iterable[Mapping[str, Any]]) -> None:
    """Show a few records: reference and prediction."""
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
