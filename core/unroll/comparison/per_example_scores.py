"""Scores per example from the records of an evaluation, for metrics that are means over examples.

The evaluation that computed the metric says how, in `Report.means`: sum(errors) / sum(words), sum(bits) /
sum(characters). A metric without such an entry (BLEU, a correlation, perplexity) can be compared by whole runs only.
Examples of one "group" (a speaker, a user, a document) are not independent draws: they count together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unroll.app import Mean
from unroll.comparison.statistics import Array, units

CLOSE = 1e-4
"""relative difference up to which the records give the logged value; they may hold rounded numbers"""


@dataclass(frozen=True)
class PerExampleScores:
    """What there is to be compared.

    Attributes:
        scores: per unit [runs, units]; [runs, 1] where only whole runs have one. A unit is an example, or all of a
            group.
        how: in words, what is taken into account.
        shares: of the units in the whole, [units].
        share: whether the metric lies between 0 and 1.
    """

    scores: Array
    how: str
    shares: Array | None = None
    share: bool = False

    @property
    def paired(self) -> bool:
        """Whether examples are taken into account."""
        return bool(self.scores.shape[1] > 1)


def per_example_scores(
    metric: str, values: Sequence[float], files: Sequence[Path | None], mean: Mean | None
) -> PerExampleScores:
    """What the records say about a metric.

    Args:
        metric: bare name.
        values: of each run.
        files: of the records of each run.
        mean: how the metric comes from the records; None where it does not, or nobody said so.
    """
    whole = np.array(values, dtype=np.float64)[:, None]

    def alone(why: str) -> PerExampleScores:
        return PerExampleScores(whole, f"seeds only: {why}", share=mean is not None and mean.share)

    there = [file for file in files if file is not None]
    if len(there) < len(files):
        return alone("not every run has records of this split")
    if mean is None:
        return alone(f"{metric} is no mean over examples, or these runs are older than the words for how it is one")
    rows = [_read(file, mean) for file in there]
    for row, value in zip(rows, values, strict=True):
        if row is None or not math.isclose(row.value, value, rel_tol=CLOSE, abs_tol=CLOSE * 1e-2):
            return alone(f"not in every run do the records give {metric} as {mean}")
    known = [row for row in rows if row is not None]
    if not all(row.ids.equals(known[0].ids) for row in known):
        return alone("the runs were not evaluated on the same examples")
    return _together(known, mean)


@dataclass(frozen=True)
class _Row:
    """The records of one run."""

    ids: Any
    numerators: Array
    weights: Array
    groups: Any
    """of each example, as Arrow has them; None where they have none"""

    @property
    def value(self) -> float:
        """Of the metric."""
        return float(self.numerators.sum() / self.weights.sum()) if self.weights.sum() > 0 else math.nan


def _together(rows: Sequence[_Row], mean: Mean) -> PerExampleScores:
    numerators, weights = np.stack([row.numerators for row in rows]), np.stack([row.weights for row in rows])
    examples, text = f"{numerators.shape[1]:,} examples", str(mean)
    groups = next((row.groups for row in rows if row.groups is not None), None)
    numbers = None if groups is None else _numbered(groups)
    if numbers is not None and numbers.max() == 0 and len(numbers) > 1:
        numbers, examples = None, f"{examples} of a single group (what holds for it need not hold for others)"
    elif numbers is not None and numbers.max() + 1 < len(numbers):
        examples = f"{numbers.max() + 1:,} groups of examples ({len(numbers):,} in all)"
    scores, shares = units(numerators, weights, numbers)
    return PerExampleScores(scores, f"seeds and {examples}: {text}", shares, mean.share)


def _numbered(groups: Any) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Group index of each example; an example without a group forms its own."""
    numbers: dict[Any, int] = {}
    names = groups.to_pylist()
    keys = [(place, None) if name is None else name for place, name in enumerate(names)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _read(file: Path, mean: Mean) -> _Row | None:
    """The columns that the metric is computed from; None if they are missing or not finite."""
    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    wanted = [name for name in (mean.numerator, mean.weight) if name]
    if not all(name in schema.names and _is_number(schema.field(name).type) for name in wanted):
        return None
    table = parquet.read(list(dict.fromkeys(["id", *wanted, *({"group"} & set(schema.names))])))
    columns = [table[name].to_numpy().astype(np.float64) for name in wanted]
    if not all(np.isfinite(column).all() for column in columns):
        return None
    weights = columns[1] if mean.weight else np.ones(table.num_rows)
    return _Row(table["id"], columns[0], weights, table["group"] if "group" in table.column_names else None)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))
