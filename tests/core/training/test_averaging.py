"""NT-ASGD: when it begins to average, what the average is, and that a restart changes nothing."""

from typing import Any

import pytest
import torch
from torch import nn

from core.app import Score
from core.interrupt import Interrupted
from core.training.averaging import NTASGD, averaged, judge
from tests.core.training.test_loop import Log, same, train

BETTER = Score("loss", "min").better
SETTINGS = ("optimizer.name=ntasgd", "optimizer.lr=0.05", "train.epochs=12")


def make(patience: int = 2) -> tuple[nn.Parameter, NTASGD]:
    weight = nn.Parameter(torch.zeros(1))
    return weight, NTASGD([weight], lr=1.0, patience=patience)


def move(weight: nn.Parameter, optimizer: NTASGD, by: float) -> None:
    weight.grad = torch.tensor([-by])
    optimizer.step()


def test_begins_when_a_score_is_worse_than_the_best_before_the_last_few():
    _, optimizer = make(patience=2)
    begun = []
    for score in (5.0, 4.0, 4.5, 4.2, 4.1, 3.0):
        optimizer.judge(score, BETTER)
        begun.append(optimizer.param_groups[0]["averaged_steps"] is not None)
    # When the fifth comes, the best of those at least two before it is 4.0.
    assert begun == [False, False, False, False, True, True]


def test_the_mean_is_over_the_weights_since_then_and_only_lent():
    weight, optimizer = make(patience=1)
    move(weight, optimizer, 10.0)
    for score in (1.0, 2.0, 3.0):
        judge(optimizer, score, BETTER)
    for by in (1.0, 1.0, 4.0):
        move(weight, optimizer, by)  # 11, 12, 16
    with averaged(optimizer):
        assert weight.item() == pytest.approx(13.0)
    assert weight.item() == 16.0


def test_other_optimizers_are_left_alone():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    judge(optimizer, 1.0, BETTER)
    with averaged(optimizer):
        assert weight.item() == 1.0


def test_resumed_run_gives_the_same_bits(tmp_path: Any, monkeypatch: Any) -> None:
    # Averages from early on, so that the stop falls into that stretch.
    monkeypatch.setattr(NTASGD, "judge", _begin)
    fitted, model, log = train(tmp_path / "whole", SETTINGS)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", SETTINGS, log=Log(stop_at=40))
    again, model_again, log_again = train(tmp_path / "stopped", SETTINGS, resume=True)
    assert log_again.losses == {step: loss for step, loss in log.losses.items() if step > 40}
    assert again.best == fitted.best
    assert same(model, model_again)


def _begin(optimizer: NTASGD, *_: Any) -> None:
    if optimizer.param_groups[0]["averaged_steps"] is None:
        optimizer.begin()
