"""What the Python API returns: runs, models, outputs and diagnoses, each with its display in notebooks."""

import html
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image
from torch import nn

from unroll import tracking, values
from unroll.config import flat
from unroll.console import duration
from unroll.data import images
from unroll.drawing.page import Markup, framed, picture, table
from unroll.errors import UserError
from unroll.surface import in_python
from unroll.tracking import Logged
from unroll.tracking.saved import Saved

if TYPE_CHECKING:
    import pandas as pd

THUMBNAIL = 160
"""longer side, in pixels, of a picture shown beside its output; smaller ones are enlarged"""


@dataclass(frozen=True)
class Picture:
    """A picture from a run; notebooks display it."""

    name: str
    png: bytes = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write it to a PNG file."""
        Path(path).write_bytes(self.png)

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Run:
    """A run in the tracking store."""

    app: str
    id: str
    status: str
    """FINISHED, FAILED, KILLED or RUNNING"""
    metrics: dict[str, float]
    """"test/wer" and so on, the score first"""
    settings: dict[str, str]
    """all of them, by their full keys"""
    seconds: float | None = None
    """from start to end; None while it is running"""
    error: str = ""
    """why it failed, in one line"""
    logged: Logged | None = field(default=None, repr=False)

    @cached_property
    def figures(self) -> dict[str, Picture]:
        """The run's pictures, by name."""
        if self.logged is None:
            return {}
        files = tracking.figures(tracking.connect(), self.logged)
        return {name: Picture(name, file.read_bytes()) for name, file in files.items()}

    def examples(self, split: str = "test") -> "pd.DataFrame":
        """Every example of a split with its reference, prediction and score. Raises UserError if there are none."""
        import pandas as pd

        file = self.logged and tracking.records(tracking.connect(), self.logged, split)
        if file is None:
            raise UserError(f"run {self.id[:8]}: holds no examples of {split}; it is {self.status}")
        return pd.read_parquet(file)

    def _repr_html_(self) -> str:
        drawn = "".join(
            f"<figure>{picture(one.png, name)}<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, one in self.figures.items()
        )
        return f"{table([_row(self)])}{drawn}"


class Runs(Sequence[Run]):
    """Runs in the order requested; notebooks display them as a table."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> "Runs": ...
    def __getitem__(self, place: int | slice) -> "Run | Runs":
        return Runs(self._runs[place]) if isinstance(place, slice) else self._runs[place]

    def __repr__(self) -> str:
        return f"Runs({list(self._runs)!r})"

    def _repr_html_(self) -> str:
        keys = dict.fromkeys(key for run in self._runs for key in run.settings)
        varying = [key for key in keys if len({run.settings.get(key) for run in self._runs}) > 1]
        return table(_filled([_row(run, varying) for run in self._runs]))


class Predictions(list[Any]):
    """One output per input, in order: a list that notebooks display beside the inputs.

    Attributes:
        inputs: the inputs.
    """

    def __init__(self, outputs: Iterable[Any], inputs: Sequence[Any]) -> None:
        super().__init__(outputs)
        self.inputs = list(inputs)

    def _repr_html_(self) -> str:
        return table(_filled([{"input": _seen(given), **_columns(output)} for given, output in self._pairs()]))

    def _pairs(self) -> list[tuple[Any, Any]]:
        """An application that ranks its inputs does not return one output per input."""
        if len(self) == len(self.inputs):
            return list(zip(self.inputs, self, strict=True))
        return [("", output) for output in self]


@dataclass(frozen=True)
class Model:
    """A trained model, ready to use."""

    saved: Saved = field(repr=False)
    reference: str
    """its origin: a run, the registry, a folder"""
    run: str | None = None
    """id of the run that trained it, if known"""

    @property
    def app(self) -> str:
        """The application's name."""
        return self.saved.app.name

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, by their full keys."""
        return flat(self.saved.config)

    @property
    def network(self) -> nn.Module:
        """The network itself, in eval mode."""
        return self.saved.model

    @property
    def examples(self) -> list[Any]:
        """A few inputs to try."""
        return list(self.saved.app.examples)

    @in_python()
    def predict(self, inputs: Any) -> Predictions:
        """One output per input.

        Args:
            inputs: a list of what the command line takes, or of the application's Python values (`unroll.apps.NAME`'s
                `App.values`); anything but a list is a single input.

        Raises:
            UserError: an input that the application does not accept, by its number.
        """
        given = values.listed(inputs)
        return Predictions(self.saved.predict(given), given)

    def _repr_html_(self) -> str:
        parameters = sum(p.numel() for p in self.network.parameters())
        shown = {"model": self.app, "of": self.reference, "parameters": parameters, "data": self.saved.digest[:12]}
        return table([shown])


@dataclass(frozen=True)
class Diagnosed:
    """The diagnosis of a model's gradient through time; notebooks display the whole report."""

    verdict: str
    """exploding, saturated, vanishing, truncated or healthy"""
    because: tuple[str, ...]
    """the numbers behind it, in sentences"""
    numbers: dict[str, Any] = field(repr=False)
    """everything that `invoke diagnose --json` returns"""
    report: Path
    """the report as a file"""

    def _repr_html_(self) -> str:
        return framed(self.report.read_text(encoding="utf-8"))


def run_of(app: str, logged: Logged, error: str = "") -> Run:
    """A run from the store."""
    tests = {name: value for name, value in logged.metrics.items() if name.startswith("test/")}
    score = f"test/{logged.tags.get('score', '')}"
    ordered = {name: tests[name] for name in (score, *sorted(tests)) if name in tests}
    return Run(app, logged.id, logged.status, ordered, logged.params, logged.seconds, error, logged)


def _row(run: Run, settings: Iterable[str] = ()) -> dict[str, Any]:
    took = {} if run.seconds is None else {"time": duration(run.seconds)}
    failed = {"error": run.error} if run.error else {}
    chosen = {key: run.settings.get(key, "") for key in settings}
    return {"app": run.app, "run": run.id[:8], "status": run.status, **chosen, **run.metrics, **took, **failed}


def _filled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same keys; missing ones are left empty."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key, "") for key in columns} for row in rows]


def _columns(output: Any) -> Mapping[str, Any]:
    named = output if isinstance(output, dict) else {"output": output}
    return {key: _seen(value) for key, value in named.items()}


def _seen(value: Any) -> Any:
    """A table cell; pictures are displayed, whether in memory or in a file."""
    file = isinstance(value, str | Path) and Path(value).suffix.lower() in images.SUFFIXES and Path(value).is_file()
    if file and Path(value).suffix.lower() == ".gif":  # may be animated
        return Markup(picture(Path(value).read_bytes(), str(value), "gif"))
    if file or isinstance(value, Image.Image) or (isinstance(value, np.ndarray) and images.is_picture(value)):
        with suppress(UserError):
            return Markup(_thumbnail(value))
    if isinstance(value, str | int | float | Path):
        return value if isinstance(value, int | float) else str(value)
    arrays = isinstance(value, np.ndarray) or (isinstance(value, tuple) and isinstance(value[0], np.ndarray))
    return values.shown(value) if arrays else str(value)


def _thumbnail(given: images.Given) -> str:
    image = images.taken(given).copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    image.save(buffer, "png")
    times = THUMBNAIL // max(image.size)
    width = times * image.width if times > 1 else None
    return picture(buffer.getvalue(), given if isinstance(given, str) else "", width=width)
