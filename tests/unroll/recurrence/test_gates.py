"""Statistics of what the squashing functions of a cell gave: by hand, for each function, at the edge of saturation."""

import math

import pytest
import torch
from torch import Tensor, nn

from unroll.recurrence.gates import FLAT, activations, squashing


def of(function: str, values: Tensor) -> tuple[float, float, float, float]:
    """(mean, saturated, low, high) of values [T, B, H]."""
    squashed = [[(function, step)] for step in values]
    [found] = activations(nn.Identity(), squashed, torch.ones(values.shape[:2], dtype=torch.bool))
    assert (found.name, found.function) == (f"{function} 1", function)
    return found.mean, found.saturated, found.low, found.high


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_unit_is_saturated_where_its_slope_is_a_twentieth_of_the_steepest(sign: int) -> None:
    assert FLAT == 0.05
    tanh, sigmoid = math.sqrt(1 - FLAT), (1 + math.sqrt(1 - FLAT)) / 2
    for function, edge in (("tanh", sign * tanh), ("sigmoid", 0.5 + sign * (sigmoid - 0.5))):
        values = torch.tensor([edge - 1e-4, edge + 1e-4, edge + sign * 1e-3, 0.5])
        assert of(function, values.reshape(2, 1, 2))[1] == 0.5


def test_a_relu_unit_is_dead_where_it_is_zero_in_all_steps_and_rows() -> None:
    values = torch.zeros(3, 2, 4)
    values[1, 0, 0] = values[2, 1, 1] = values[0, 0, 1] = 1e-3
    values[:, :, 3] = 2
    assert of("relu", values)[1] == 0.25


def test_units_over_maps_are_dead_place_by_place() -> None:
    values = torch.zeros(2, 1, 1, 2, 2)
    values[0, 0, 0, 0, 0] = 1
    assert of("relu", values)[1] == 0.75


def test_mean_and_percentiles() -> None:
    values = torch.linspace(-1, 1, 101)[torch.randperm(101)]
    mean, _, low, high = of("tanh", values.reshape(101, 1, 1))
    assert (mean, low, high) == (pytest.approx(0, abs=1e-6), pytest.approx(-0.9), pytest.approx(0.9))


def test_percentiles_of_more_values_than_can_be_sorted_at_once() -> None:
    """Every third of 330,000: the percentiles of those alone."""
    values = torch.rand(1000, 330, 1, generator=torch.Generator().manual_seed(0))
    _, _, low, high = of("sigmoid", values)
    few = values.flatten()[::3]
    assert (low, high) == (pytest.approx(float(few.quantile(0.05))), pytest.approx(float(few.quantile(0.95))))


def test_nothing_squashed_is_no_activation() -> None:
    assert activations(nn.Identity(), [], torch.ones(0, 1, dtype=torch.bool)) == []
    assert activations(nn.Identity(), [[], []], torch.ones(2, 1, dtype=torch.bool)) == []


@pytest.mark.parametrize("names", [("first", "second"), ("one too few",), ()])
def test_names_are_the_cells_where_there_are_as_many(names: tuple[str, ...]) -> None:
    cell = nn.Identity()
    cell.activation_names = names
    step = [("tanh", torch.zeros(1, 2)), ("relu", torch.zeros(1, 2))]
    found = [one.name for one in activations(cell, [step], torch.ones(1, 1, dtype=torch.bool))]
    assert found == (list(names) if len(names) == 2 else ["tanh 1", "relu 2"])


def test_what_is_heard_is_every_way_to_call_them_in_order_and_nothing_after() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with squashing() as heard:
        for call in (torch.sigmoid, Tensor.sigmoid, torch.tanh, Tensor.tanh, torch.relu, nn.functional.relu):
            call(x).exp()
    torch.sigmoid(x)
    assert [name for name, _ in heard] == ["sigmoid", "sigmoid", "tanh", "tanh", "relu", "relu"]
    assert torch.equal(heard[0][1], x.sigmoid()) and not any(value.requires_grad for _, value in heard)
