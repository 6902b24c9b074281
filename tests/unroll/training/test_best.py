"""Which evaluation is the best: the score, then the validation loss, then the later one; also across a restart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unroll.training.test_loop import EPOCH, Log, train
from tests.unroll.training.toy import APP
from unroll.app import Report, Step
from unroll.errors import Notice
from unroll.interrupt import Interrupted
from unroll.training.best import Best
from unroll.training.checkpoint import Checkpoints

NAN = float("nan")


def judged(folder: Path, evaluations: Sequence[tuple[float, float]], app: Any = None) -> tuple[Best, list[bool]]:
    """`evaluations`: (score, validation loss) of each epoch; the loss is read off the weights, as a real one is."""

    def step(model: nn.Module, batch: Any, state: Any) -> Step:
        assert not model.training
        return Step(next(model.parameters()).mean(), size=1)

    model = nn.Linear(1, 1, bias=False)
    best = Best(app or replace(APP, step=step), lambda: [0, 0], Checkpoints(folder))
    gains = []
    for epoch, (score, loss) in enumerate(evaluations, start=1):
        with torch.no_grad():
            model.weight.fill_(loss)
        gains.append(best.update(model.train(), score, epoch))
        assert model.training and model.weight.item() == pytest.approx(loss, nan_ok=True)
    return best, gains


@pytest.mark.parametrize(
    ("evaluations", "gains", "epoch"),
    [
        ([(0.0, 2.0), (0.0, 1.0), (0.0, 0.5)], [True, True, True], 3),
        ([(0.0, 2.0), (0.0, 3.0), (0.0, 1.0), (0.0, 1.5)], [True, False, True, False], 3),
        ([(0.0, 2.0), (0.0, 2.0)], [True, True], 2),
        ([(0.5, 1.0), (0.0, 9.0), (0.0, 8.0), (0.5, 0.1)], [True, True, True, False], 3),
        ([(0.0, 2.0), (0.0, NAN), (NAN, 0.0)], [True, False, False], 1),
        ([(0.0, NAN), (0.0, 5.0)], [True, True], 2),
        ([(0.5, 1.0), (0.5, 2.0), (0.2, 9.0), (0.2, 8.0)], [True, False, True, True], 4),
    ],
)
def test_of_equal_scores_the_lower_loss_wins(
    evaluations: list[tuple[float, float]], gains: list[bool], epoch: int, tmp_path: Path
) -> None:
    best, found = judged(tmp_path, evaluations)
    assert found == gains and best.epoch == epoch
    assert best.without_gain == len(gains) - epoch


def test_a_step_that_does_not_take_the_batches_of_val_leaves_the_later_one(tmp_path: Path) -> None:
    def step(model: nn.Module, batch: Any, state: Any) -> Step:
        raise KeyError("targets")

    with pytest.warns(Notice, match=r"toy: loss on the validation split, .*: left out \(KeyError: 'targets'\)"):
        best, gains = judged(tmp_path, [(0.0, 1.0), (0.0, 2.0)], replace(APP, step=step))
    assert gains == [True, True] and best.epoch == 2


def test_no_loss_is_computed_where_scores_differ(tmp_path: Path) -> None:
    def step(model: nn.Module, batch: Any, state: Any) -> Step:
        raise AssertionError("nobody needs it")

    _, gains = judged(tmp_path, [(3.0, 1.0), (2.0, 1.0), (4.0, 1.0)], replace(APP, step=step))
    assert gains == [True, True, False]


ALWAYS_EQUAL = replace(APP, evaluate=lambda model, batches: Report({"mse": float(len(list(batches)) * 0)}, [], "mse"))


def test_a_score_that_cannot_rise_does_not_end_a_training_that_still_learns(tmp_path: Path) -> None:
    settings = ("train.epochs=5", "train.patience=1", "optimizer.lr=0.003", "optimizer.schedule=constant")
    fitted, _, _ = train(tmp_path, settings, app=ALWAYS_EQUAL)
    assert fitted.stopped == "epochs" and fitted.best_epoch == 5


def test_resumed_the_same_epoch_is_kept(tmp_path: Path) -> None:
    """The loss of the best weights comes with the checkpoint."""
    settings = ("train.epochs=6", "optimizer.lr=0.3")
    whole, model, _ = train(tmp_path / "whole", settings, app=ALWAYS_EQUAL)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", settings, app=ALWAYS_EQUAL, log=Log(stop_at=4 * EPOCH - 2))
    again, model_again, _ = train(tmp_path / "stopped", settings, app=ALWAYS_EQUAL, resume=True)
    assert again.best_epoch == whole.best_epoch
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), model_again.parameters(), strict=True))
