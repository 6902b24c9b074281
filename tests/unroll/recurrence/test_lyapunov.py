"""The interval of a growth factor, written out by hand for a cell whose Jacobian is a known number at every step."""

import math

import numpy as np
import pytest
import torch
from scipy.special import stdtrit

from unroll.recurrence import Recurrent
from unroll.recurrence.gradients import gradients
from unroll.recurrence.lyapunov import Growth, growth
from unroll.recurrence.recording import record


def grown(x: torch.Tensor) -> Growth:
    """Of a minimal GRU of one unit, which forgets by sigmoid(-x): x [T, B]."""
    network = Recurrent("mingru", 1, 1)
    with torch.no_grad():
        network.cells[0].weight_ih.fill_(1.0)
        network.cells[0].bias_ih.zero_()
    with record(network) as calls:
        loss = network(x[..., None])[0].square().sum()
    return growth(gradients(loss, calls[""][0], rows=x.shape[1], targets=1, shares=False)[0])


def jackknife(values: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Standard error and degrees of freedom, one whole group left out in turn."""
    without = np.array([values[groups != group].mean() for group in np.unique(groups)])
    many = len(without)
    return math.sqrt((many - 1) / many * ((without - without.mean()) ** 2).sum()), many - 1


@pytest.mark.parametrize(("steps", "counted"), [(6, 4), (60, 40), (61, 41)])
@pytest.mark.parametrize("rows", [1, 3, 4, 6])
@pytest.mark.parametrize("alike", [False, True])
def test_the_interval_is_that_of_the_formulas(steps: int, counted: int, rows: int, alike: bool) -> None:
    """Two thirds of the steps count, rounded up; four rows are samples, of fewer an eighth of the time is one."""
    x = torch.randn(steps, 1 if alike else rows, generator=torch.Generator().manual_seed(steps + rows))
    found = grown(x.expand(steps, rows))
    logs = torch.nn.functional.logsigmoid(-x.expand(steps, rows).double()).numpy()[:counted]
    time, row = np.indices(logs.shape)
    groups = row if rows >= 4 else (time + 1) * 8 // (steps + 1)
    error, freedom = jackknife(logs.ravel(), groups.ravel())
    drift = abs(logs[: counted // 2].mean() - logs[counted // 2 :].mean()) / 2
    wide = math.hypot(stdtrit(freedom, 0.975) * error, drift)
    assert found.factor == pytest.approx(math.exp(logs.mean()), rel=1e-5)
    assert found.low == pytest.approx(math.exp(logs.mean() - wide), rel=1e-4)
    assert found.high == pytest.approx(math.exp(logs.mean() + wide), rel=1e-4)


def test_of_one_step_nothing_but_the_factor_is_known() -> None:
    found = grown(torch.tensor([[0.5]]))
    assert found == Growth(pytest.approx(torch.tensor(-0.5).sigmoid().item()), 0.0, math.inf)
