"""Weight averaging: the averages, when NT-ASGD starts its own, and that a restart changes nothing."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from tests.unroll.training.test_loop import Log, same, train
from unroll.app import Score
from unroll.interrupt import Interrupted
from unroll.training.averaging import NTASGD, averaged, keep_mean, observe_score

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
        optimizer.observe_score(score, BETTER)
        begun.append(optimizer.param_groups[0]["averaged_steps"] is not None)
    # When the fifth comes, the best of those at least two before it is 4.0.
    assert begun == [False, False, False, False, True, True]


def test_the_mean_is_over_the_weights_since_then_and_only_lent():
    weight, optimizer = make(patience=1)
    move(weight, optimizer, 10.0)
    for score in (1.0, 2.0, 3.0):
        observe_score(optimizer, score, BETTER)
    for by in (1.0, 1.0, 4.0):
        move(weight, optimizer, by)  # 11, 12, 16
    with averaged(optimizer):
        assert weight.item() == pytest.approx(13.0)
    assert weight.item() == 16.0


def test_other_optimizers_are_left_alone():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    observe_score(optimizer, 1.0, BETTER)
    with averaged(optimizer):
        assert weight.item() == 1.0


def test_the_running_mean_forgets_and_is_only_lent():
    used, unused = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([used, unused], lr=1.0)
    keep_mean(optimizer, decay=0.25)
    weights = [1.0, 3.0, 2.0]
    for before, after in itertools.pairwise([0.0, *weights]):
        used.grad = torch.tensor([before - after])
        optimizer.step()
    # Decays (1 + n) / (10 + n), as long as that is less: 3/12 and 4/13, of which 1/4 is the smaller.
    mean = 0.25 * (0.25 * 1.0 + 0.75 * 3.0) + 0.75 * 2.0
    with averaged(optimizer):
        assert used.item() == pytest.approx(mean) and unused.item() == 1.0
    assert used.item() == 2.0


def test_the_running_mean_begins_short():
    """With a decay far above (1 + n) / (10 + n), the latter counts: 3/12, 4/13, 5/14 from the second step on."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    keep_mean(optimizer, decay=0.9999)
    mean, before = 1.0, 0.0
    for number, after in enumerate([1.0, 3.0, 2.0, 7.0], start=1):
        weight.grad = torch.tensor([before - after])
        optimizer.step()
        decay, before = (1 + number) / (10 + number), after
        mean = after if number == 1 else decay * mean + (1 - decay) * after
    with averaged(optimizer):
        assert weight.item() == pytest.approx(mean)


def test_a_parameter_may_get_its_first_gradient_late():
    early, late = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([early, late], lr=1.0)
    keep_mean(optimizer, decay=0.9)
    early.grad = torch.ones(1)
    optimizer.step()
    late.grad = torch.ones(1)
    optimizer.step()
    assert "exp_avg" in optimizer.state[late]
    with averaged(optimizer):
        assert late.item() == pytest.approx(0.0, abs=1e-5)  # the mean begins where it was moved to


@pytest.mark.parametrize("name", ["running mean", "ntasgd"])
def test_the_means_are_those_of_torchs_averaged_model_to_the_last_bit(name: str) -> None:
    """Where its decay is constant: ours begins short."""
    model = nn.LSTM(3, 5)
    if name == "ntasgd":
        optimizer: torch.optim.Optimizer = NTASGD(model.parameters(), lr=0.1)
        optimizer.begin()
        theirs = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        keep_mean(optimizer, decay=0.1)
        theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.1))
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(4, 2, 3))[0].square().sum().backward()
        optimizer.step()
        theirs.update_parameters(model)
    with averaged(optimizer):
        pairs = zip(model.parameters(), theirs.module.parameters(), strict=True)
        assert all(torch.equal(ours, mean) for ours, mean in pairs)


@pytest.mark.parametrize(
    "settings", [SETTINGS, ("optimizer.average=0.9", "train.epochs=12")], ids=["ntasgd", "running mean"]
)
def test_resumed_run_gives_the_same_bits(tmp_path: Any, monkeypatch: Any, settings: tuple[str, ...]) -> None:
    # Averages from early on, so that the stop falls into that stretch.
    monkeypatch.setattr(NTASGD, "observe_score", _begin)
    fitted, model, log = train(tmp_path / "whole", settings)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", settings, log=Log(stop_at=40))
    again, model_again, log_again = train(tmp_path / "stopped", settings, resume=True)
    assert log_again.losses == {step: loss for step, loss in log.losses.items() if step > 40}
    assert again.best == fitted.best
    assert same(model, model_again)


def _begin(optimizer: NTASGD, *_: Any) -> None:
    if optimizer.param_groups[0]["averaged_steps"] is None:
        optimizer.begin()
