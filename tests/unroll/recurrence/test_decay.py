"""Where a decay ends and which of its lags count: the boundaries, and what is no number."""

import math

import pytest
import torch

from unroll.recurrence.decay import Decay


def decay(*left: float) -> Decay:
    return Decay.of(torch.tensor(left, dtype=torch.float64)[:, None])


@pytest.mark.parametrize(
    ("left", "share", "reach"),
    [
        ((1.0, 0.5, 0.25, 0.125), 0.5, (1.0, True)),  # just this share is no more than it
        ((1.0, 0.5, 0.25, 0.125), 0.25, (2.0, True)),
        ((1.0, 0.5, 0.25), 0.2, (2.0, False)),
        ((1.0, 0.5, 0.0), 0.25, (2.0, True)),  # no logarithm to interpolate on
        ((1.0, math.inf, 0.001), 0.01, (2.0, True)),
        ((1.0, 4.0, 0.25), 0.5, (1.75, True)),
        ((1.0,), 0.5, (0.0, False)),
    ],
)
def test_reach(left: tuple[float, ...], share: float, reach: tuple[float, bool]) -> None:
    found, ended = decay(*left).reach(share)
    assert (pytest.approx(found), ended) == reach


def test_lags_without_an_error_are_none() -> None:
    norms = torch.tensor([[1.0, 2.0], [0.5, math.nan], [math.nan, math.nan]])
    assert Decay.of(norms).lags == 1


@pytest.mark.parametrize(
    ("left", "rate"),
    [
        ((1.0, 0.5, 0.25, 1e-9), 0.5),  # what is below a millionth weighs on nothing
        ((1.0, 0.5, 0.25, 2e-6), 0.0469),
        ((1.0, 1e-7, 1e-14), 1e-7),  # unless nothing else is left
        ((1.0, math.inf, 0.25), 0.5),
        ((1.0, 0.0), math.nan),
        ((1.0,), math.nan),
    ],
)
def test_lags_that_a_rate_is_fitted_to(left: tuple[float, ...], rate: float) -> None:
    assert decay(*left).rate() == pytest.approx(rate, rel=1e-3, nan_ok=True)


def test_the_area_under_a_decay_is_a_number_even_where_it_explodes() -> None:
    assert decay(1.0, 0.5, 0.25).area == pytest.approx(1.75)
    assert math.isfinite(decay(1.0, math.inf, 1e200).area)
