"""The pictures show the gradient's numbers, computed by hand."""

from typing import Any, cast

import pytest
import torch
from matplotlib.collections import QuadMesh

from tests.unroll.diagnosis.patients import APP, elman, quiet
from unroll.diagnosis import pictures
from unroll.diagnosis.probe import NetworkProbe, probe
from unroll.recurrence.gradients import CellGradients


def gradients(norms: Any, at: list[int], shares: Any = None) -> CellGradients:
    """Of a cell that is not looked at: ||de_t/dS_k|| [T + 1, R] of one state, for errors at these steps."""
    rows = torch.arange(len(at))
    return CellGradients(
        trace=cast(Any, None), rows=rows, lengths=torch.full_like(rows, len(norms) - 1), at=torch.tensor(at),
        since=torch.zeros_like(rows), norms={"hidden": torch.tensor(norms, dtype=torch.float64)},
        shares={} if shares is None else {"W": torch.tensor(shares, dtype=torch.float64)},
    )  # fmt: skip


def test_the_heat_map_is_relative_to_each_errors_own_step() -> None:
    cell = gradients([[0.5, 4e-9], [5.0, 0.04], [0.0, 4.0], [0.0, 0.0]], at=[1, 2])
    times, relative = pictures._relative(cell, "hidden")
    assert times.tolist() == [1, 2]
    expected = torch.tensor([[-1, 0, torch.nan, torch.nan], [-6, -2, 0, torch.nan]], dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(relative), expected, equal_nan=True)  # 1e-9 is drawn as 1e-6
    grown = gradients([[5e6], [5.0]], at=[1])
    assert pictures._relative(grown, "hidden")[1].tolist() == [[3, 0]]


def test_shares_are_summed_from_each_lag_on() -> None:
    cell = gradients([[1.0], [1.0], [1.0], [1.0]], at=[3], shares=[[0.125], [-0.25], [0.5], [0.625]])
    assert pictures._share_from(cell, "W").tolist() == [1, 0.375, -0.125, 0.125]


@pytest.fixture(scope="module")
def seen() -> NetworkProbe:
    torch.manual_seed(0)
    return probe(APP, elman("tanh", 0.5), quiet("tanh"))[0]


def test_the_gradient_is_drawn_with_the_state_that_reaches_furthest(seen: NetworkProbe) -> None:
    left = pictures.gradient(seen, "of a toy").axes[0]
    [mesh] = (one for one in left.collections if isinstance(one, QuadMesh))
    name, _ = seen.cells[0].longest()
    times, relative = pictures._relative(seen.cells[0], name)
    drawn = cast(Any, mesh.get_array())
    assert drawn.shape == relative.shape and drawn.max() == pytest.approx(0) and drawn.min() == pytest.approx(-6)
    assert left.get_title().startswith("Elman") and left.get_xlim()[1] == int(times.max()) + 0.5


def test_every_weight_has_a_line_of_its_shares(seen: NetworkProbe) -> None:
    [axes] = pictures.shares(seen).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    for weight in ("W", "U"):
        drawn = cast(Any, lines[f"layer 1: ∂E/∂{weight}"])
        expected = [seen.cells[0].share_from(weight, lag) for lag in range(len(drawn))]
        assert drawn == pytest.approx(expected) and drawn[0] == pytest.approx(1)
