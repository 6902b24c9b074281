"""Which runs may be compared with each other, and which may not and why.

Runs are comparable when they were evaluated on the same data, split by the same rule, by a metric of the same
signature. Two runs of the same seed count once.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from unroll.app import Mean
from unroll.tracking import PRUNED, Curve, Logged
from unroll.training.signatures import parts

Mode = Literal["min", "max"]

INCIDENTAL = ("train.seed", "train.device", "train.checkpoint_minutes", "train.probe_every")
"""keys by which runs may differ and still be the same experiment; of these the seed alone makes another draw"""
SECONDS = "seconds of training"
BUDGET = ("train.epochs", "train.minutes", "train.precision", SECONDS)
"""keys that decide how much is learnt, and how exactly: a comparison of anything else must hold them equal"""
COSTS = {
    "parameters": "parameters",
    "seconds": "train/total_seconds",
    "per_second": "train/total_per_second",
    "memory_mb": "train/peak_memory_mb",
}
"""what a run costs: short name -> metric"""
NEAR = 0.1
"""relative difference up to which numbers of parameters count as equal"""


@dataclass(frozen=True)
class Excluded:
    """A run that is not compared, and why."""

    run: Logged
    why: str


def differing(runs: Sequence[Logged]) -> list[str]:
    """The configuration keys whose values are not the same in all runs, in the order of the configuration."""
    keys = dict.fromkeys(key for run in runs for key in run.params)
    return [key for key in keys if len({run.params.get(key) for run in runs}) > 1]


def confounded(
    groups: Mapping[str, Sequence[Logged]], by: Sequence[str], usual: Mapping[str, str]
) -> dict[str, dict[str, list[str]]]:
    """What else differs between groups: key -> group -> its values. None of `by`, nor what is incidental.

    A key that varies within the groups, with the same values as often in each (another factor of a grid), sets none of
    them apart.

    Args:
        groups: name -> runs.
        by: keys that the groups are made by.
        usual: the value of a key that a run is too old to have.
    """
    found = {}
    for key in differing([run for runs in groups.values() for run in runs]):
        if key in by or key in INCIDENTAL:
            continue
        counts = {name: Counter(run.params.get(key, usual.get(key, "")) for run in own) for name, own in groups.items()}
        shares = [{value: n / count.total() for value, n in count.items()} for count in counts.values()]
        if any(one != shares[0] for one in shares[1:]):
            found[key] = {name: sorted(count) for name, count in counts.items()}
    return found | _cut(groups)


def _cut(groups: Mapping[str, Sequence[Logged]]) -> dict[str, dict[str, list[str]]]:
    """The seconds of training, where the clock (train.minutes) has ended that of some run, and they are not the same:
    some groups had the time that they wanted, and others not.
    """
    runs = [run for own in groups.values() for run in own]
    limits = [(cost(run, "seconds"), 60 * float(run.params.get("train.minutes", 0))) for run in runs]
    means = {name: fmean(cost(run, "seconds") for run in own) for name, own in groups.items()}
    ended = any(0 < (1 - NEAR) * limit <= seconds for seconds, limit in limits)
    if ended and max(means.values()) > (1 + NEAR) * min(means.values()):
        return {SECONDS: {name: [f"{value:.0f}"] for name, value in means.items()}}
    return {}


def usable(runs: Sequence[Logged], metric: str) -> tuple[list[Logged], list[Excluded]]:
    """(finished runs that have a finite value, the others with what is the matter)."""
    left = []
    for run in runs:
        if run.status == "RUNNING":
            left.append(Excluded(run, "still running, or its process died without reporting it"))
        elif PRUNED in run.tags and run.status == "KILLED":
            left.append(Excluded(run, f"pruned by a search: {run.tags[PRUNED]}"))
        elif run.status != "FINISHED":
            left.append(Excluded(run, f"ended as {run.status}"))
        elif metric not in run.metrics:
            left.append(Excluded(run, f"has no {metric}"))
        elif not math.isfinite(run.metrics[metric]):
            left.append(Excluded(run, f"its {metric} is {run.metrics[metric]}"))
    out = {one.run.id for one in left}
    return [run for run in runs if run.id not in out], left


def comparable(runs: Sequence[Logged], split: str) -> tuple[list[Logged], list[Excluded]]:
    """(the largest set of runs with the same data and signature, of equals the newest; the others with the reason)."""

    def marks(run: Logged) -> tuple[str, str, str]:
        # Validation scores have no signature of their own: they are of the same data, computed in the same way.
        way, rule = parts(run.tags.get(f"signature.{split}") or run.tags.get("signature.test", ""))
        return rule, run.tags.get("data.digest", ""), way

    if not runs:
        return [], []
    (rule, digest, way), _ = Counter(map(marks, runs)).most_common(1)[0]
    left = []
    for run in runs:
        own_rule, own_digest, own_way = marks(run)
        if own_rule != rule:
            left.append(Excluded(run, f"other split rule: {own_rule or 'unsigned'} against {rule or 'unsigned'}"))
        elif own_digest != digest:
            left.append(Excluded(run, f"other data: digest {own_digest[:12]}, not {digest[:12]}"))
        elif own_way != way:
            left.append(Excluded(run, f"the metric was computed in another way: {own_way or 'unsigned'}, not {way}"))
    out = {one.run.id for one in left}
    return [run for run in runs if run.id not in out], left


def of_equal_size(runs: Sequence[Logged], parameters: float) -> tuple[list[Logged], list[Excluded]]:
    """(runs whose number of parameters is within 10 % of the wanted one, the others)."""
    near, left = [], []
    for run in runs:
        own = cost(run, "parameters")
        if abs(own - parameters) <= NEAR * parameters:
            near.append(run)
        else:
            left.append(Excluded(run, f"{own:,.0f} parameters, more than {NEAR:.0%} from {parameters:,.0f}"))
    return near, left


def within(
    runs: Sequence[Logged], metric: str, mode: Mode, scores: Mapping[str, Curve], times: Mapping[str, Curve]
) -> tuple[float, list[Logged], list[Excluded]]:
    """(seconds of the shortest training; the runs with the best value that they had reached by then; the others).

    Args:
        runs: finished ones.
        metric: of the validation split; it gets the best value.
        mode: which direction is better.
        scores, times: run id -> curve of the metric, and of the seconds of training, by the same steps.
    """
    limit = min((cost(run, "seconds") for run in runs), default=math.nan)
    reached, left = [], []
    for run in runs:
        own, clock = scores.get(run.id, {}), times.get(run.id, {})
        values = [value for step, value in own.items() if clock.get(step, math.inf) <= limit and math.isfinite(value)]
        if values:
            best = (min if mode == "min" else max)(values)
            reached.append(replace(run, metrics={**run.metrics, metric: best}))
        else:
            left.append(Excluded(run, f"not evaluated once within {limit:.1f} s"))
    return limit, reached, left


def mean(runs: Sequence[Logged], metric: str) -> Mean | None:
    """How a metric comes from the records, as all of the runs say; None where one says otherwise, or nothing."""
    split, _, name = metric.partition("/")
    # As with signatures: those of other splits are computed in the same way.
    said = [json.loads(run.tags.get(f"means.{split}") or run.tags.get("means.test", "{}")).get(name) for run in runs]
    return Mean(**said[0]) if said and said[0] and all(one == said[0] for one in said) else None


def cost(run: Logged, name: str) -> float:
    """One of COSTS; NaN where the run has not logged it."""
    return run.metrics.get(COSTS[name], math.nan)


def middle_size(runs: Sequence[Logged]) -> float:
    """Median number of parameters; NaN where no run has logged it."""
    sizes = [size for run in runs if math.isfinite(size := cost(run, "parameters"))]
    return median(sizes) if sizes else math.nan


def one_per_seed(runs: Sequence[Logged]) -> tuple[list[Logged], list[Excluded]]:
    """A second run of the same seed is no second draw: counted as one it would make luck look like certainty."""
    kept: dict[tuple[tuple[str, str], ...], Logged] = {}
    left = []
    for run in runs:
        same = tuple(sorted((key, value) for key, value in run.params.items() if key not in INCIDENTAL[1:]))
        if same in kept:
            left.append(Excluded(run, f"same settings and seed as the newer run {kept[same].id[:8]}"))
        else:
            kept[same] = run
    return list(kept.values()), left
