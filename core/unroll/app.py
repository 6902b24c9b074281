"""The contract of an application, and how applications are found.

An application is one frozen value of plain functions, `APP = App(...)`, in a folder of `apps/` or behind an entry point
of the group "unroll.apps". Nothing registers itself and nothing is inherited; applications are imported one at a time,
so that a broken or slow one does not affect the others.
"""

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self

from typing_extensions import TypeVar  # typing's own has a default only from Python 3.13 on

from unroll.config import Config
from unroll.errors import UserError, did_you_mean
from unroll.extras import missing
from unroll.machine import lacking
from unroll.surface import option
from unroll.values import Value
from unroll.values import check as check_values

if TYPE_CHECKING:  # the command line lists applications without waiting for torch
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from unroll.data.store import Store

ENTRY_POINTS = "unroll.apps"

# An application's types. An `App` or `Data` without them is that of any application.
ConfigT = TypeVar("ConfigT", bound=Config, default=Any)
ModelT = TypeVar("ModelT", bound="nn.Module", default=Any)
BatchT = TypeVar("BatchT", default=Any)


@dataclass(frozen=True)
class Data(Generic[BatchT]):
    """What `App.data` returns: the batches (of type BatchT) of each split, and what a model must know about the data.

    A batch is any nesting of tuples, named tuples and dicts that holds tensors and plain values. `train` must be
    resumable: a `torchdata.stateful_dataloader.StatefulDataLoader` (see `unroll.sequence.batching`).
    """

    train: Iterable[BatchT]
    val: Iterable[BatchT]
    test: Iterable[BatchT]
    facts: dict[str, Any]
    """vocabulary, sizes, normalisation: plain JSON values, saved with every model; with the config they rebuild it"""
    digest: str
    """SHA-256 of the prepared data; runs with different digests are not comparable"""
    split: str
    """the rule that assigns examples to splits, in a few words: "by voice", "publisher's"; it is part of every metric's
    signature, and runs with different rules are not comparable"""
    notes: tuple[str, ...] = ()
    """what to tell the user once, for example "3 utterances are too short for their transcript: ..." """


@dataclass(frozen=True)
class Step:
    """What `App.step` returns for one batch."""

    loss: "Tensor"
    """scalar, mean over whatever the application counts"""
    size: float
    """amount of data in the batch, in `App.unit`; epoch means are weighted by it, and throughput is counted in it"""
    state: Any = None
    """state carried into the next batch of the stream (any nesting; detached by the loop); None: no state is carried"""
    logs: Mapping[str, float] = field(default_factory=dict)
    """more numbers to track, by name"""


@dataclass(frozen=True)
class Mean:
    """How a metric is computed from the records: sum(numerator) / sum(weight), over two of their columns."""

    numerator: str
    """what each record contributes: its word errors, its bits, whether it is correct (true or false, 0 or 1)"""
    weight: str = ""
    """its weight: its words, its characters; empty: every record counts once"""
    share: bool = False
    """whether the metric is always between 0 and 1: each numerator is between 0 and its weight"""

    def of(self, records: Sequence[Mapping[str, Any]]) -> float:
        """The metric; NaN where nothing counts."""
        total = sum(row[self.weight] for row in records) if self.weight else len(records)
        return float(sum(row[self.numerator] for row in records) / total) if total else math.nan

    def __str__(self) -> str:
        """The formula."""
        return f"sum({self.numerator}) / sum({self.weight})" if self.weight else f"mean({self.numerator})"


@dataclass(frozen=True)
class Report:
    """What `App.evaluate` returns for one split."""

    metrics: dict[str, float]
    """by bare name ("wer"), the headline metric first; the loop adds the split as a prefix"""
    records: list[dict[str, Any]]
    """one row per example: "id", "reference", "prediction", "score", and anything else that helps to read it; a "group"
    (text) if examples are not independent: their speaker, user, document, scene"""
    signature: str = ""
    """how the metrics were computed (tokenisation, decoding, version), as sacrebleu does; split and data are added"""
    means: Mapping[str, Mean] = field(default_factory=dict)
    """metric -> how it is computed from the records, for each that is a mean over examples; others (BLEU, a
    correlation) are compared only between whole runs"""

    @classmethod
    def of_means(cls, records: list[dict[str, Any]], signature: str, means: Mapping[str, Mean]) -> Self:
        """The report whose metrics are all means over its records."""
        return cls({name: mean.of(records) for name, mean in means.items()}, records, signature, means)


@dataclass(frozen=True)
class Score:
    """The one metric that an application is judged by: early stopping, best checkpoint and comparison follow it."""

    name: str
    mode: Literal["min", "max"]

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` beats `old`. NaN never does; anything else beats None."""
        if math.isnan(new):
            return False
        return old is None or (new < old if self.mode == "min" else new > old)


@dataclass(frozen=True)
class App(Generic[ConfigT, ModelT, BatchT]):
    """An application: one frozen value of plain functions, typed with its own config, model and batch.

    With `APP: App[MyConfig, MyModel, MyBatch] = App(...)` a type checker checks every function against these three
    types; they have no effect at run time. See `docs/new-app.md`.
    """

    about: str
    """one line"""
    presets: Mapping[str, ConfigT]
    """at least "default" and "smoke", both on built-in data; smoke takes a minute at most on one core"""
    prepare: "Callable[[ConfigT, Store], object]"
    """(config, store): sources -> verified, prepared splits in the store; does nothing if they exist. What it returns
    is for the application itself"""
    data: "Callable[[ConfigT, Store], Data[BatchT]]"
    """(config, store) -> batches of every split, and the facts"""
    model: "Callable[[ConfigT, dict[str, Any]], ModelT]"
    """(config, facts) -> the network, with fresh weights. It holds everything that `predict` needs, so that a saved
    model (weights, config, facts) works without the data"""
    step: "Callable[[ModelT, BatchT, Any], Step]"
    """(model, batch, state) -> the loss on a batch; `state` is from the previous Step, None at the start of an epoch.
    It is also called on validation batches: if scores are equal, the lower loss decides"""
    evaluate: "Callable[[ModelT, Iterable[BatchT]], Report]"
    """(model, batches of one split) -> metrics and records; free-running, in eval mode, without gradients"""
    predict: "Callable[[ModelT, Sequence[Any]], list[Any]]"
    """(model, inputs: text as typed on a command line, and `values`) -> one output per input"""
    score: Score
    examples: tuple[Any, ...]
    """a few inputs for `predict` to try"""
    values: tuple[Value, ...] = ()
    """kinds of Python values that `predict` accepts besides text: paths, arrays, pictures, lists"""
    unit: str = "examples"
    """what `Step.size` counts, in the plural: "tokens", "seconds of audio" """
    figures: "Callable[[ModelT, Iterable[BatchT], Report], dict[str, Figure]] | None" = None
    """(model, batches of the test split, its report) -> pictures by name, logged with the run"""
    baselines: "Callable[[ConfigT, Data[BatchT]], dict[str, dict[str, float]]] | None" = None
    """(config, data) -> test metrics, including the score, of simple methods by name: what the network must beat"""
    read: "Callable[[Path], list[Any]] | None" = None
    """(file) -> inputs for `predict`, for `invoke predict --file`; None: one input per line. The path "-" is standard
    input: unroll.data.text and unroll.data.tables read it"""
    stream: "Callable[[ModelT, Any], Iterator[str]] | None" = None
    """(model, one input) -> its output piece by piece, as it is generated, for a terminal"""
    scores: "Callable[[ModelT, Path], tuple[list[dict[str, Any]], dict[str, Figure]]] | None" = None
    """(model, file) -> a row per piece of the file, and pictures by name, for `invoke predict --score FILE`"""
    ensemble: "Callable[[Sequence[ModelT]], nn.Module] | None" = None
    """(models of several runs) -> one model for `evaluate` and `predict` that combines them, for --run A --run B"""
    score_of: "Callable[[ConfigT], Score] | None" = None
    """(config) -> the score, if the application's tasks have different ones; `score` is the default's"""
    name: str = ""
    """set on loading, to the folder's or the entry point's name"""

    def config(self, preset: str = "default", settings: Iterable[str] = ()) -> ConfigT:
        """The named preset with `key=value` settings applied.

        Raises:
            UserError: an unknown preset, key or cell, or a setting that would not be read.
        """
        if preset not in self.presets:
            raise UserError(
                f"{option('preset', preset)}: {self.name} has no such preset; {did_you_mean(preset, self.presets)}"
            )
        config = self.presets[preset].chosen(settings)
        _check_cell(config)
        return config

    def network(self, config: ConfigT, facts: dict[str, Any]) -> ModelT:
        """`model`, with a one-line error if it cannot be built: a missing cell, sizes that do not fit together."""
        _check_cell(config)
        _check_kind(self.name, config)
        try:
            return self.model(config, facts)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{self.name}: no model can be built from these settings: {reason}") from error

    def outputs(self, model: ModelT, inputs: Sequence[Any]) -> list[Any]:
        """`predict`, for any inputs. Raises UserError for one that is neither text nor one of `values`."""
        check_values(self.name, self.values, inputs)
        return self.predict(model, inputs)

    def with_score_for(self, config: ConfigT) -> Self:
        """This application with the score that runs of `config` are judged by."""
        return replace(self, score=self.score_of(config)) if self.score_of else self


def _check_cell(config: Config) -> None:
    from unroll.recurrence import CELLS

    cell = getattr(config.model, "cell", None)
    if isinstance(cell, str) and cell not in CELLS:
        raise UserError(f"model.cell={cell}: no such cell; {did_you_mean(cell, CELLS)}")


def _check_kind(app: str, config: Config) -> None:
    """Raise UserError for a cell over maps in an application that has vectors for it."""
    from unroll.recurrence import CELLS

    cell = getattr(config.model, "cell", None)
    if config.model.over_maps or not isinstance(cell, str):
        return
    if getattr(CELLS[cell], "extent_dims", 0):
        raise UserError(f"model.cell={cell}: is a cell over maps; {app} needs one over vectors, such as gru or lstm")


def names() -> list[str]:
    """Names of all applications: the folders of `apps/`, then installed entry points. Imports none of them."""
    return sorted({*_folders(), *(entry.name for entry in _entries())})


def load(name: str) -> App:
    """Import one application. Raises UserError if there is none of that name, or if its import fails."""
    check(name)
    try:
        app = _import(name)
    except ImportError as error:
        if lacking(error):
            raise
        why = missing(error) or f"{error}; install what it needs, or see --debug"
        raise UserError(f"{option('app', name)}: cannot be imported: {why}") from error
    if not isinstance(app, App):
        raise UserError(f"{option('app', name)}: its APP is not an unroll.app.App but {type(app).__name__}")
    return replace(app, name=name)


def check(name: str) -> None:
    """Raise UserError if there is no application of that name."""
    found = names()
    if name not in found:
        raise UserError(f"{option('app', name)}: no such application; {did_you_mean(name, found)}")


def _import(name: str) -> Any:
    if name in _folders():
        return getattr(importlib.import_module(f"unroll.apps.{name}"), "APP", None)
    return next(entry for entry in _entries() if entry.name == name).load()


def _folders() -> Iterator[str]:
    from unroll import apps

    return (module.name for module in pkgutil.iter_modules(apps.__path__) if module.ispkg)


def _entries() -> Iterable[EntryPoint]:
    return entry_points(group=ENTRY_POINTS)
