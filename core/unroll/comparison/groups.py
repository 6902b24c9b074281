"""Groups of runs side by side, and what can be said about their differences.

Runs that differ in nothing but the seed are a group. The groups are compared with one of them, the baseline: see
`eligibility` for which runs may be compared at all, `per_example_scores` for what goes into the test, and `statistics`
for the test.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from unroll.comparison.circumstances import circumstances
from unroll.comparison.eligibility import (
    BUDGET,
    COSTS,
    INCIDENTAL,
    Excluded,
    Mode,
    confounded,
    differing,
    mean,
    one_per_seed,
)
from unroll.comparison.per_example_scores import PerExampleScores, per_example_scores
from unroll.comparison.statistics import Difference, Needed, Spread, difference, holm, needed, seeds_needed
from unroll.errors import UserError, did_you_mean
from unroll.surface import condition, option, task
from unroll.tracking import Logged

SINGLE = 3
"""notes on groups of one seed at most"""
NAMED = 6
"""groups whose values are named in a line"""


@dataclass(frozen=True)
class Group:
    """Runs that are the same but for the seed.

    Attributes:
        by: key -> value of what sets it apart.
        runs: one for each seed, newest first.
        values: of the metric, likewise.
        lost: trainings of this group that failed or have no finite value: what is left may be the lucky ones.
        against: the difference to the baseline; None for the baseline itself.
        p_holm: the p-value, corrected for all comparisons of the table.
        needed: seeds in each group with which a difference as large as this would be found, by the same test; None
            where that cannot be said, or where no number would do.
    """

    by: dict[str, str]
    runs: list[Logged]
    values: list[float]
    lost: int = 0
    against: Difference | None = None
    p_holm: float | None = None
    needed: Needed | None = None

    @property
    def name(self) -> str:
        """For people."""
        return ", ".join(self.by.values()) or "all runs"

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds; None for a single seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    def best(self, mode: Mode | None) -> float | None:
        """Best over seeds; None if it is not known which direction is better."""
        return None if mode is None else (min if mode == "min" else max)(self.values)

    def cost(self, name: str) -> float | None:
        """Mean of a cost (see COSTS) over the runs that have it."""
        found = [run.metrics[COSTS[name]] for run in self.runs if COSTS[name] in run.metrics]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Comparison:
    """Groups side by side, the best first where that is known.

    Attributes:
        app: name.
        metric: split/name.
        mode: which direction is better, if known.
        by: keys that set the groups apart.
        groups: see there.
        baseline: that the others are compared with; None without groups.
        how: what the test takes into account, in words.
        left: runs that are not compared.
        notes: what a reader should know.
        confounded: keys outside `by` that differ between the groups as well: key -> group -> values.
    """

    app: str
    metric: str
    mode: Mode | None
    by: list[str]
    groups: list[Group] = field(default_factory=list)
    baseline: Group | None = None
    how: str = ""
    left: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    confounded: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def compare(
    app: str,
    runs: Sequence[Logged],
    metric: str,
    mode: Mode | None,
    files: Mapping[str, Path | None],
    *,
    by: Sequence[str] = (),
    baseline: str | None = None,
    usual: Mapping[str, str] | None = None,
    left: Sequence[Excluded] = (),
    equal: Collection[str] = BUDGET,
) -> Comparison:
    """Compare runs that are comparable.

    Args:
        app: name.
        runs: usable and comparable, newest first.
        metric: split/name.
        mode: which direction is better, if known.
        files: run id -> file of the records of that split.
        by: keys to group by; none: those that differ.
        baseline: value (or key=value, or several values with commas) of the group to compare with.
        usual: settings of the default preset: their group is the baseline when none is named.
        left: runs that were left out before.
        equal: keys that must not differ between groups unless these are made by them.

    Raises:
        UserError: no run has such a key, or no group such a value; groups differ in one of `equal`.
    """
    keys = _keys(runs, by)
    chosen, repeated = one_per_seed(runs)
    groups = _groups(chosen, keys, metric, left)
    result = Comparison(app, metric, mode, keys, left=[*left, *repeated])
    if not groups:
        return result
    first = _baseline(groups, baseline, usual or {})
    members = {group.name: group.runs for group in groups}
    apart = confounded(members, keys, usual or {})
    _refuse(apart, keys, equal)
    found = per_example_scores(
        metric.partition("/")[2], [run.metrics[metric] for run in chosen], [files.get(run.id) for run in chosen],
        mean(chosen, metric),
    )  # fmt: skip
    compared = _compared(groups, first, chosen, found)
    if mode is not None:
        compared.sort(key=lambda group: group.mean, reverse=mode == "max")
    notes = [*_mixed(groups), *_apart(apart), *circumstances(chosen), *_single(compared, app)]
    base = next(group for group in compared if group.against is None)
    return replace(result, groups=compared, baseline=base, how=found.how, notes=notes, confounded=apart)


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """With Holm's correction over all differences of all tables: they are one family."""
    places = [(i, j) for i, one in enumerate(comparisons) for j, group in enumerate(one.groups) if group.against]
    found = [comparisons[i].groups[j].against for i, j in places]
    adjusted = dict(zip(places, holm([one.p if one else None for one in found]), strict=True))
    return [
        replace(one, groups=[replace(group, p_holm=adjusted.get((i, j))) for j, group in enumerate(one.groups)])
        for i, one in enumerate(comparisons)
    ]


def _keys(runs: Sequence[Logged], by: Sequence[str]) -> list[str]:
    known = dict.fromkeys(key for run in runs for key in run.params)
    for key in by:
        if runs and key not in known:
            raise UserError(f"{option('by', key)}: no run has this key; {did_you_mean(key, known)}")
    return list(by) or [key for key in differing(runs) if key not in INCIDENTAL]


def _groups(runs: Sequence[Logged], keys: Sequence[str], metric: str, left: Sequence[Excluded]) -> list[Group]:
    def values(run: Logged) -> tuple[str, ...]:
        return tuple(run.params.get(key, "") for key in keys)

    members: dict[tuple[str, ...], list[Logged]] = {}
    for run in runs:
        members.setdefault(values(run), []).append(run)
    lost = Counter(
        values(one.run)
        for one in left
        if one.run.status == "FAILED" or not math.isfinite(one.run.metrics.get(metric, 0.0))
    )
    return [
        Group(dict(zip(keys, value, strict=True)), own, [run.metrics[metric] for run in own], lost[value])
        for value, own in members.items()
    ]


def _baseline(groups: Sequence[Group], wanted: str | None, usual: Mapping[str, str]) -> Group:
    if wanted is None:
        as_usual = [group for group in groups if all(usual.get(key) == value for key, value in group.by.items())]
        return (as_usual or [max(groups, key=lambda group: len(group.values))])[0]
    parts = {part.strip() for part in wanted.split(",")}

    def has(group: Group) -> bool:
        return parts <= {*group.by.values(), *(f"{key}={value}" for key, value in group.by.items())}

    fitting = [group for group in groups if has(group)]
    if len(fitting) != 1:
        if not groups[0].by:
            raise UserError(f"{option('baseline', wanted)}: these runs differ in nothing; they are one group")
        what = f"is in {len(fitting)} groups; write key=value" if fitting else "is the value of no group"
        values = {value for group in groups for value in group.by.values()}
        raise UserError(f"{option('baseline', wanted)}: {what}; {did_you_mean(wanted, values)}")
    return fitting[0]


def _compared(groups: Sequence[Group], first: Group, runs: Sequence[Logged], found: PerExampleScores) -> list[Group]:
    rows = {run.id: row for row, run in enumerate(runs)}

    def scores(group: Group) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return found.scores[[rows[run.id] for run in group.runs]]

    base, compared = scores(first), []
    known = [(group.std**2, len(group.values) - 1) for group in groups if group.std is not None]
    freedom = sum(count for _, count in known)
    deviation = math.sqrt(sum(square * count for square, count in known) / freedom) if known else None
    for group in groups:
        if group is first:
            compared.append(group)
            continue
        against = _shifted(difference(scores(group), base, found.shares), group.mean - first.mean, found.share)
        number = against.needed
        if against.spread is None and deviation:
            number = needed(against.value, Spread((deviation, deviation), (2, 2), 0.0), freedom)
        compared.append(replace(group, against=against, needed=number))
    return compared


def _shifted(found: Difference, value: float, share: bool) -> Difference:
    """Records may hold rounded scores: what is reported is the difference of the metric itself. That of two shares lies
    between -1 and 1: what an interval has beyond is nothing that it could be.
    """
    if found.low is None or found.high is None:
        return replace(found, value=value)
    low, high = found.low + value - found.value, found.high + value - found.value
    if share:
        low, high = max(low, -1.0), min(high, 1.0)
    return replace(found, value=value, low=low, high=high)


def _refuse(apart: Mapping[str, Mapping[str, Sequence[str]]], by: Sequence[str], equal: Collection[str]) -> None:
    """Groups that were trained for longer than others are no fair comparison, unless that is the question."""
    unequal = [_values(key, groups) for key, groups in apart.items() if key in equal]
    if unequal:
        cures = f"choose with {condition('KEY=VALUE')}, add it to {option('by')}"
        raise UserError(
            f"{option('by', ','.join(by))}: the groups differ in {'; '.join(unequal)} as well, and a difference may "
            f"come from that: {cures}, or compare them all the same with {option('confounded', True)}"
        )


def _values(key: str, groups: Mapping[str, Sequence[str]]) -> str:
    shown = [f"{name} {' and '.join(values)}" for name, values in list(groups.items())[:NAMED]]
    return f"{key} ({', '.join(shown)}{', ...' if len(groups) > NAMED else ''})"


def _apart(apart: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    """What sets the groups apart besides the keys that they are made by; what varies within one is said by `_mixed`."""
    named = [
        _values(key, groups) for key, groups in apart.items() if all(len(values) == 1 for values in groups.values())
    ]
    return [f"the groups differ in {'; '.join(named)} as well: a difference may come from that"] if named else []


def _mixed(groups: Sequence[Group]) -> list[str]:
    """A note on groups whose runs differ in more than the seed."""
    keys = dict.fromkeys(key for group in groups for key in differing(group.runs) if key not in INCIDENTAL)
    if not keys:
        return []
    cure = f"add it to {option('by')}, or choose with {condition('KEY=VALUE')}"
    return [f"the runs of a group differ in {', '.join(keys)} too: {cure}"]


def _single(groups: Sequence[Group], app: str) -> list[str]:
    """A note on groups of one seed: what they cannot show, and how many seeds would."""
    alike: dict[str, list[str]] = {}
    for group in groups:
        if len(group.values) == 1:
            alike.setdefault(_enough(group, app), []).append(group.name)
    notes = [
        f"{', '.join(names)}: one seed, so no interval and no test can be given; {enough}"
        for enough, names in alike.items()
    ]
    rest = sum(map(len, list(alike.values())[SINGLE:]))
    return notes[:SINGLE] + [f"{rest} more groups have one seed"] * bool(rest)


def _enough(group: Group, app: str) -> str:
    if group.needed is not None:
        return (
            f"to show a difference of {abs(group.against.value) if group.against else 0:.4g}, {group.needed} seeds "
            "would be needed, by the spread of the other groups"
        )
    one, two = (seeds_needed(size, Spread((1.0, 1.0), (2, 2), 0.0)) for size in (1.0, 2.0))
    return (
        f"{two} seeds each would be needed to show a difference of two standard deviations between seeds, {one} for "
        f"one: {task('train', app, seeds=two)} and the same settings"
    )
