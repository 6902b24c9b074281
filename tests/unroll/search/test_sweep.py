"""Search spaces as typed, the study in MLflow's own database, and pruning."""

from typing import Any

import mlflow
import optuna
import pytest

from unroll import tracking
from unroll.app import Score
from unroll.errors import UserError
from unroll.search.sweep import STARTUP, Space, TrialPruner, best, study
from unroll.training.progress import Position, Pruned


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("model.cell=gru,lstm", Space("model.cell", ("gru", "lstm"))),
        ("model.hidden=8..64", Space("model.hidden", (), 8, 64, whole=True)),
        ("model.hidden=8..64:log", Space("model.hidden", (), 8, 64, whole=True, log=True)),
        ("optimizer.lr=1e-4..0.1:log", Space("optimizer.lr", (), 1e-4, 0.1, log=True)),
        ("model.dropout=0.0..0.5", Space("model.dropout", (), 0.0, 0.5)),
    ],
)
def test_spaces(text: str, wanted: Space) -> None:
    assert Space.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["model.cell", "model.cell=gru", "model.cell=gru,", "a.b=1..x", "a.b=2..1", "a.b=0..1:log", "a.b=1..2:ln"]
)
def test_what_is_no_space_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=f"--search {text}: "):
        Space.parse(text)


def test_a_trial_gets_settings_as_a_user_would_type_them() -> None:
    trial = optuna.trial.FixedTrial({"model.cell": "gru", "model.hidden": 12, "optimizer.lr": 0.0123456789})
    spaces = map(Space.parse, ["model.cell=gru,lstm", "model.hidden=8..64", "optimizer.lr=1e-4..0.1:log"])
    assert [space.suggest(trial) for space in spaces] == [
        "model.cell=gru", "model.hidden=12", "optimizer.lr=0.0123457",
    ]  # fmt: skip


def epoch(number: int) -> Position:
    return Position(step=number, epoch=number, epochs=9, share=0.1, seconds=1.0)


@pytest.mark.parametrize(("mode", "good", "bad"), [("min", 0.1, 0.9), ("max", 0.9, 0.1)])
def test_a_trial_that_is_worse_than_half_is_ended_and_a_better_one_is_not(mode: Any, good: float, bad: float) -> None:
    score = Score("wer", mode)
    found = study("sqlite:///:memory:", "s", score)
    for _ in range(STARTUP):
        trial = found.ask()
        trial.report(0.5, 1)
        found.tell(trial, 0.5)
    TrialPruner(found.ask(), score).evaluated(epoch(1), {"val/wer": good}, best=True)
    with pytest.raises(Pruned, match="epoch 1"):
        TrialPruner(found.ask(), score).evaluated(epoch(1), {"val/wer": bad}, best=False)


def test_the_study_lives_beside_the_runs_and_is_gone_on_with(client: Any) -> None:
    score = Score("wer", "min")
    found = study(mlflow.get_tracking_uri(), "speech/s", score)
    for value in (0.3, 0.1, 0.2):
        trial = found.ask()
        trial.suggest_float("optimizer.lr", 0, 1)
        found.tell(trial, value)
    again = study(mlflow.get_tracking_uri(), "speech/s", score)
    assert [trial.value for trial in best(again, 2)] == [0.1, 0.2]
    # MLflow looks at the version of its tables whenever it opens them.
    mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore(mlflow.get_tracking_uri(), "artifacts")
    assert tracking.runs(client, "speech") == []
