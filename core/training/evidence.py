"""What the records of an evaluation say about a metric: a score per example, wherever the metric is a mean of such.

Nobody declares how a metric comes from its records. A formula counts only when it gives the logged value again, in
every run: mean(score), sum(score) / sum(words), sum(score x tokens) / sum(tokens), or one of these times a constant
that is the same in all runs (bits a token and bits a character). What has no such formula (BLEU, a correlation,
perplexity) can be compared by whole runs only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.training.statistics import Array, linearised

CLOSE = 1e-4
"""relative difference up to which a formula gives the logged value; records may hold rounded scores"""
CONSTANT = 1e-6
"""likewise for a factor that must be the same in all runs"""
LOOKED = 3
"""runs in which a formula is searched for; then it must hold in all"""


@dataclass(frozen=True)
class Formula:
    """How a metric comes from columns of the records: sum(column x weight) / sum(weight), or sum(column) / sum(weight).

    Attributes:
        column: of the records.
        weight: another one, or empty.
        summed: whether the weight only divides.
        factor: times this.
    """

    column: str
    weight: str = ""
    summed: bool = False
    factor: float = 1.0

    def __str__(self) -> str:
        if not self.weight:
            text = f"mean({self.column})"
        elif self.summed:
            text = f"sum({self.column}) / sum({self.weight})"
        else:
            text = f"mean({self.column}) weighted by {self.weight}"
        return text if self.factor == 1 else f"{self.factor:.6g} x {text}"

    @property
    def columns(self) -> list[str]:
        """That it needs."""
        return [self.column, self.weight] if self.weight else [self.column]

    def scores(self, numbers: dict[str, Array]) -> Array:
        """Scores of the examples, whose mean is the metric."""
        scores = numbers[self.column]
        if self.weight:
            weight = numbers[self.weight]
            scores = linearised((scores if self.summed else scores * weight)[None], weight[None])[0]
        scaled: Array = self.factor * scores
        return scaled

    def value(self, numbers: dict[str, Array]) -> float:
        """Of the metric."""
        return float(self.scores(numbers).mean())


@dataclass(frozen=True)
class Evidence:
    """Scores per example [runs, examples], or [runs, 1] where only whole runs have one; and in words which."""

    scores: Array
    how: str

    @property
    def paired(self) -> bool:
        """Whether examples are taken into account."""
        return bool(self.scores.shape[1] > 1)


def evidence(metric: str, values: Sequence[float], files: Sequence[Path | None]) -> Evidence:
    """What the records say about a metric.

    Args:
        metric: bare name.
        values: of each run.
        files: of the records of each run.
    """
    whole, there = np.array(values, dtype=np.float64)[:, None], [file for file in files if file is not None]
    if len(there) < len(files):
        return Evidence(whole, "seeds only: not every run has records of this split")
    looked = [_read(file) for file in there[:LOOKED]]
    formula = _formula(metric, values[:LOOKED], [numbers for _, numbers in looked])
    if formula is None:
        return Evidence(whole, "seeds only: this metric is no mean of the scores of examples")
    rows = []
    for value, file in zip(values, there, strict=True):
        ids, numbers = _read(file, formula.columns)
        if not set(formula.columns) <= numbers.keys() or not _close(formula.value(numbers), value):
            return Evidence(whole, f"seeds only: not in every run is this metric {formula}")
        if not ids.equals(looked[0][0]):
            return Evidence(whole, "seeds only: the runs were not evaluated on the same examples")
        rows.append(formula.scores(numbers))
    return Evidence(np.stack(rows), f"seeds and {len(rows[0]):,} examples: {formula}")


def _formula(metric: str, values: Sequence[float], tables: Sequence[dict[str, Array]]) -> Formula | None:
    """The first candidate that gives the values; after all of these, the first that does so times a constant."""
    scaled = None
    for formula in _candidates(metric, tables):
        found = [formula.value(table) for table in tables]
        if all(_close(own, value) for own, value in zip(found, values, strict=True)):
            return formula
        scaled = scaled or _scaled(formula, found, values)
    return scaled


def _candidates(metric: str, tables: Sequence[dict[str, Array]]) -> Iterator[Formula]:
    """The likelier ones first: the column of the metric's name, then "score"."""
    columns = [name for name in (tables[0] if tables else {}) if all(name in table for table in tables)]
    columns.sort(key=lambda name: (name != metric, name != "score"))
    for column in columns:
        yield Formula(column)
        for weight in columns:
            if weight != column and all((table[weight] >= 0).all() and table[weight].sum() > 0 for table in tables):
                yield Formula(column, weight, summed=True)
                yield Formula(column, weight)


def _scaled(formula: Formula, found: Sequence[float], values: Sequence[float]) -> Formula | None:
    # A factor can be told from chance only by runs that differ, and is believed of the application's score alone.
    if formula.column != "score" or len(set(values)) < 2 or not all(found):
        return None
    factors = [value / own for value, own in zip(values, found, strict=True)]
    if max(factors) - min(factors) > CONSTANT * abs(factors[0]):
        return None
    return replace(formula, factor=factors[0])


def _close(found: float, value: float) -> bool:
    return math.isclose(found, value, rel_tol=CLOSE, abs_tol=CLOSE * 1e-2)


def _read(file: Path, columns: Sequence[str] | None = None) -> tuple[Any, dict[str, Array]]:
    """The examples' ids, and the columns of finite numbers, or those of them that are wanted."""
    parquet = pq.ParquetFile(file)
    names = [field.name for field in parquet.schema_arrow if _is_number(field.type)]
    table = parquet.read(["id", *(name for name in names if columns is None or name in columns)])
    numbers = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names[1:]}
    return table["id"], {name: column for name, column in numbers.items() if np.isfinite(column).all()}


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))
