"""A question about an application's runs, and the comparison that answers it."""

import warnings
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from mlflow.tracking import MlflowClient

from unroll import app as apps
from unroll import surface, tracking
from unroll.app import App
from unroll.comparison.eligibility import BUDGET, Excluded, Mode, comparable, middle_size, of_equal_size, usable, within
from unroll.comparison.groups import Comparison, corrected
from unroll.comparison.groups import compare as compare_groups
from unroll.config import flat
from unroll.console import duration
from unroll.errors import Notice, UsageError, UserError, did_you_mean
from unroll.surface import option
from unroll.tracking import Logged


@dataclass(frozen=True)
class Question:
    """What the user wants to know.

    Attributes:
        metric: split/name, or a name for that on the test split; None: the score there.
        by: keys to group by; none: those that differ.
        baseline: value of the group to compare with.
        where: key=value conditions on the runs.
        equal: "parameters" or "seconds" for runs of equal cost.
        confounded: whether groups may differ in their budgets (epochs, minutes, precision) as well.
    """

    metric: str | None = None
    by: tuple[str, ...] = ()
    baseline: str | None = None
    where: tuple[str, ...] = ()
    equal: str | None = None
    confounded: bool = False

    @property
    def budget(self) -> tuple[str, ...]:
        """Keys that must not differ between groups; at equal seconds every run has the same budget."""
        if self.confounded:
            return ()
        return ("train.precision",) if self.equal == "seconds" else BUDGET


def ask_all(
    client: MlflowClient, names: Sequence[str], question: Question, only: Container[str] | None = None
) -> list[Comparison]:
    """Compare the runs of several applications, with a joint correction. A failed comparison does not hide the others.

    Raises:
        UsageError: costs of another name are to be equal.
        UserError: as `ask`, where none has an answer.
    """
    if question.equal not in (None, "parameters", "seconds"):
        raise UsageError(f"{option('equal', question.equal)}: write parameters or seconds")
    found = []
    for number, name in enumerate(names, start=1):
        try:
            found.append(ask(client, apps.load(name), question, only))
        except UserError as error:
            if isinstance(error, UsageError) or (number == len(names) and not found):
                raise
            warnings.warn(f"{name} is left out: {error}", Notice, stacklevel=2)
    return corrected(found)


def ask(client: MlflowClient, app: App, question: Question, only: Container[str] | None = None) -> Comparison:
    """Compare one application's runs, or those with the given ids."""
    runs = [run for run in tracking.runs(client, app.name) if only is None or run.id in only]
    runs = _where(runs, question.where)
    score, modes = judged_by(app, runs)
    metric = question.metric or f"{'val' if question.equal == 'seconds' else 'test'}/{score}"
    known = {name for run in runs for name in run.metrics}
    if metric not in known and f"test/{metric}" in known:
        metric = f"test/{metric}"
    if runs and question.metric and metric not in known:
        raise UserError(f"{option('metric', metric)}: no run of {app.name} has it; {did_you_mean(metric, known)}")
    split, _, name = metric.partition("/")
    good, left = usable(runs, metric)
    chosen, refused = comparable(good, split)
    _check(app, question.by, good, chosen, refused)
    asked = _Asked(client, app, question, metric, modes.get(name))
    whole = asked.about(chosen, [*left, *refused])
    if whole.baseline is None or question.equal is None:
        return whole
    if question.equal == "parameters":
        near, far = of_equal_size(chosen, middle_size(whole.baseline.runs))
        return asked.about(near, [*left, *refused, *far])
    return _within(asked, chosen, [*left, *refused])


@dataclass(frozen=True)
class _Asked:
    """A question about one application, with what follows from its runs."""

    client: MlflowClient
    app: App
    question: Question
    metric: str
    mode: Mode | None

    def about(self, runs: Sequence[Logged], left: Sequence[Excluded], records: bool = True) -> Comparison:
        """The answer for these runs; with their records where these are about the same metric."""
        split = self.metric.partition("/")[0]
        files = {run.id: tracking.records(self.client, run, split) for run in runs if records}
        usual = {key: str(value) for key, value in flat(self.app.presets["default"]).items()}
        return compare_groups(
            self.app.name, runs, self.metric, self.mode, files, by=self.question.by, baseline=self.question.baseline,
            usual=usual, left=left, equal=self.question.budget,
        )  # fmt: skip


def _within(asked: _Asked, runs: Sequence[Logged], left: Sequence[Excluded]) -> Comparison:
    if asked.mode is None or not asked.metric.startswith("val/"):
        raise UsageError(
            f"{option('equal', 'seconds')}: is about the validation score by time, not about {asked.metric}"
        )
    scores, times = (tracking.curves(asked.client, runs, name) for name in (asked.metric, "seconds"))
    limit, reached, late = within(runs, asked.metric, asked.mode, scores, times)
    found = asked.about(reached, [*left, *late], records=False)
    found.notes.append(f"best {asked.metric} within {duration(limit)}, the time of the shortest training")
    return found


def _where(runs: Sequence[Logged], conditions: Iterable[str]) -> list[Logged]:
    known = {key for run in runs for key in run.params}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            example = surface.condition("data.source=builtin")
            raise UsageError(f"{surface.condition(condition)}: write it as key=value, for example {example}")
        if runs and key not in known:
            raise UserError(f"{surface.condition(key)}: no run has this key; {did_you_mean(key, known)}")
        values = {run.params.get(key, "") for run in runs}
        if runs and value not in values:
            raise UserError(f"{surface.condition(condition)}: no run has this value; {did_you_mean(value, values)}")
        runs = [run for run in runs if run.params.get(key) == value]
    return list(runs)


def judged_by(app: App, runs: Sequence[Logged]) -> tuple[str, dict[str, Mode]]:
    """(score of the newest run, better direction of each score of these runs)."""
    modes: dict[str, Mode] = {app.score.name: app.score.mode}
    judged = [(run.tags["score"], run.tags["score.mode"]) for run in runs if "score.mode" in run.tags]
    modes |= {name: "min" if mode == "min" else "max" for name, mode in judged}
    return (judged[0][0] if judged else app.score.name), modes


def _check(
    app: App, by: Sequence[str], good: Sequence[Logged], left: Sequence[Logged], refused: list[Excluded]
) -> None:
    """Raise an error if none of the requested groups is comparable, instead of an empty table."""

    def groups(runs: Sequence[Logged]) -> set[tuple[str, ...]]:
        return {tuple(run.params.get(key, "") for key in by) for run in runs}

    if len(groups(good)) > 1 and len(groups(left)) < 2:
        raise UserError(
            f"{app.name}: runs that differ in {', '.join(by)} cannot be compared: run {refused[0].run.id[:8]}: "
            f"{refused[0].why}; evaluate them in the same way, or choose with {surface.condition('KEY=VALUE')}"
        )
