"""`invoke new-app`, `invoke new-cell`: working templates. `invoke apps`: applications and cells."""

import typing
from pathlib import Path
from typing import Any

from unroll import app as apps
from unroll import scaffold
from unroll.app import App
from unroll.console import say, show_table
from unroll.errors import UserError, typed


def new_app(name: str, kind: str, path: str | None = None) -> dict[str, Any]:
    """Create a new application; see `unroll.scaffold.new_app`."""
    files = scaffold.new_app(name, kind, Path(path) if path else None)
    _tell(files)
    if path:
        say(f"next: pip install -e {path}")
    say(f"{'      ' if path else 'next: '}{typed()} train --app {name}")
    return {"app": name, "files": [str(file) for file in files]}


def new_cell(name: str, path: str | None = None) -> dict[str, Any]:
    """Create a new cell; see `unroll.scaffold.new_cell`."""
    files = scaffold.new_cell(name, Path(path) if path else None)
    _tell(files)
    if path:
        say(f"next: pip install -e {path}")
    say(f"{'      ' if path else 'next: '}{typed()} train --app speech --set model.cell={name}")
    say(f"      {typed()} memory --cell {name},elman,lstm")
    return {"cell": name, "files": [str(file) for file in files]}


def _tell(files: list[Path]) -> None:
    for file in files:
        say(f"written: {file}")


def listing() -> dict[str, Any]:
    """List the applications with their sources and presets, and the cells that all of them can use."""
    from unroll.recurrence import CELLS

    rows = [_row(name) for name in apps.names()]
    show_table("applications", rows)
    cells = [{"cell": name, "what": CELLS.summary(name)} for name in CELLS]
    show_table("cells, for --set model.cell=NAME", cells)
    say(f'"{typed()} train --app NAME" runs the default; "--preset NAME" chooses another; docs/new-app.md: your own')
    return {"apps": rows, "cells": list(CELLS)}


def _row(name: str) -> dict[str, Any]:
    try:
        app = apps.load(name)
    except UserError as error:
        return {"app": name, "what": str(error), "sources": "", "presets": ""}
    return {"app": name, "what": app.about, "sources": ", ".join(_sources(app)), "presets": ", ".join(app.presets)}


def _sources(app: App) -> list[str]:
    """The values that data.source may have."""
    field = type(app.presets["default"].data).model_fields["source"]
    return list(typing.get_args(field.annotation)) or [str(field.default)]
