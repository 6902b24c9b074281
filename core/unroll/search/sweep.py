"""Searching settings with Optuna: spaces as a user types them, the study beside the runs, pruning while training."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import Trial

from unroll.app import Score
from unroll.errors import UserError
from unroll.search.grid import values
from unroll.training.progress import Observer, Position, Pruned

STARTUP = 5
"""trials before any is pruned"""


@dataclass(frozen=True)
class Space:
    """The search space of one setting: choices, or a range of integers or real numbers.

    Attributes:
        key: of the configuration.
        choices: as typed; empty for a range.
        low, high: of the range, both included.
        whole: whether the numbers are.
        log: whether equal ratios count as equal steps.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> "Space":
        """`key=low..high`, `key=low..high:log` or `key=a,b,c`. Raises UserError for anything else."""
        key, _, wanted = text.partition("=")
        if ".." not in wanted:
            choices = tuple(values(wanted))
            if len(choices) < 2 or "" in choices:
                raise UserError(f"--search {text}: write key=low..high, key=low..high:log or key=a,b,c")
            return cls(key, choices)
        bounds, _, scale = wanted.partition(":")
        low, _, high = bounds.partition("..")
        try:
            space = cls(key, (), float(low), float(high), low.isdigit() and high.isdigit(), scale == "log")
        except ValueError:
            raise UserError(f"--search {text}: {bounds} is no range of numbers") from None
        if scale not in ("", "log") or not space.low < space.high or (space.log and space.low <= 0):
            raise UserError(f"--search {text}: wants low < high, above 0 for :log")
        return space

    def suggest(self, trial: Trial) -> str:
        """The setting for a trial, as `key=value`."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        if self.whole:
            return f"{self.key}={trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)}"
        return f"{self.key}={trial.suggest_float(self.key, self.low, self.high, log=self.log):.6g}"


class TrialPruner(Observer):
    """An observer of the training loop that prunes a trial worse than the median of the others at that point."""

    def __init__(self, trial: Trial, score: Score) -> None:
        self.trial, self.score = trial, score

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """Observer: raises Pruned where continuing is not worth it."""
        self.trial.report(metrics[f"val/{self.score.name}"], at.epoch)
        if self.trial.should_prune():
            raise Pruned(f"epoch {at.epoch}: worse than half of the trials")


def study(uri: str, name: str, score: Score, seed: int = 0) -> optuna.Study:
    """The study of that name, new or to be resumed, in the database that also holds the runs.

    Args:
        uri: of the database.
        name: unique there.
        score: decides the direction.
        seed: of the sampler.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # MLflow's tables are versioned by alembic too, in a table of the same name, which Optuna must leave alone.
        storage = optuna.storages.RDBStorage(uri, skip_compatibility_check=True)
        return optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True,
            direction="minimize" if score.mode == "min" else "maximize",
            sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner(STARTUP),
        )  # fmt: skip


def best(found: optuna.Study, count: int) -> Sequence[optuna.trial.FrozenTrial]:
    """The completed trials with the best scores, best first."""
    done = found.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    most = found.direction == optuna.study.StudyDirection.MAXIMIZE
    return sorted(done, key=lambda trial: trial.value or 0.0, reverse=most)[:count]
