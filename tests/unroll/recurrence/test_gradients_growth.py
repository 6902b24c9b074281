"""Growth factors, spectral norms, decays, gates and horizons against what is known in closed form."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unroll.recurrence import Recurrent
from unroll.recurrence import reference_gated as gated
from unroll.recurrence.decay import Decay
from unroll.recurrence.gates import activations
from unroll.recurrence.gradients import CellGradients, gradients
from unroll.recurrence.limited_context import limited_context
from unroll.recurrence.lyapunov import growth, spectral_norms
from unroll.recurrence.recording import longest, record
from unroll.recurrence.reference import BPTT, Network
from unroll.recurrence.registry import CELLS

D, H = 3, 8


def look(network: Recurrent, x: torch.Tensor, **given: Any) -> CellGradients:
    with record(network) as calls:
        loss = network(x, **given)[0].square().sum()
    call = longest(calls[""])
    assert call is not None
    return gradients(loss, call, targets=2, shares=False)[0]


def linear(radius: float, seed: int, hidden: int = 16) -> Recurrent:
    torch.manual_seed(seed)
    network = Recurrent("elman", D, hidden, f="identity")
    W = torch.randn(hidden, hidden)
    with torch.no_grad():
        network.cells[0].weight_hh.copy_(W * radius / torch.linalg.eigvals(W).abs().max())
    return network


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_the_growth_of_a_linear_network_is_its_spectral_radius(radius: float) -> None:
    for seed in range(20):
        found = growth(look(linear(radius, seed), torch.randn(100, 4, D)))
        assert found.factor == pytest.approx(radius, rel=0.05)
        assert found.low <= found.factor <= found.high


def test_growth_neither_under_nor_overflows() -> None:
    for radius in (0.2, 5.0):
        found = growth(look(linear(radius, 0), torch.randn(400, 4, D)))
        assert found.factor == pytest.approx(radius, rel=0.02)


def test_an_orthogonal_network_neither_shrinks_nor_grows() -> None:
    network = Recurrent("elman", D, H, f="identity", init="orthogonal")
    found = growth(look(network, torch.randn(30, 4, D)))
    assert found.factor == pytest.approx(1, abs=1e-5) and found.high - found.low < 1e-4


def test_a_dead_relu_network_has_no_growth() -> None:
    network = Recurrent("elman", D, H, f="relu")
    with torch.no_grad():
        network.cells[0].bias_ih.fill_(-100)
    with record(network) as calls:
        loss = network(torch.randn(10, 4, D))[0].sum()
    assert growth(gradients(loss, calls[""][0])[0]).factor == 0


def test_the_interval_covers_a_factor_that_is_known() -> None:
    """Independent gates: log f of a unit is a mean of independent numbers, so the true factor is exp of its mean."""
    covered = 0
    for seed in range(40):
        torch.manual_seed(seed)
        network = Recurrent("mingru", 1, 1)
        with torch.no_grad():
            network.cells[0].weight_ih.fill_(1.0)
            network.cells[0].bias_ih.zero_()
        truth = torch.nn.functional.logsigmoid(-torch.randn(200_000)).mean().exp()
        found = growth(look(network, torch.randn(60, 8, 1)))
        covered += found.low <= truth <= found.high
    assert covered >= 34


def test_a_factor_that_drifts_is_not_known_better_than_it_drifts() -> None:
    """All rows agree, so half the difference between earlier and later steps is all of the interval.

    A minimal GRU of one unit forgets by sigmoid(-x). Of 60 steps the first 40 count.
    """
    network = Recurrent("mingru", 1, 1)
    with torch.no_grad():
        network.cells[0].weight_ih.fill_(1.0)
        network.cells[0].bias_ih.zero_()
    x = torch.full((60, 8, 1), -1.0)
    x[20:40] = 0.5
    early, late = torch.nn.functional.logsigmoid(torch.tensor([1.0, -0.5], dtype=torch.float64)).tolist()
    found = growth(look(network, x))
    assert found.factor == pytest.approx(math.exp((early + late) / 2), rel=1e-5)
    assert found.low == pytest.approx(math.exp(late), rel=1e-5)
    assert found.high == pytest.approx(math.exp(early), rel=1e-5)


def test_spectral_norms_are_those_of_the_product_of_jacobians() -> None:
    torch.manual_seed(0)
    network = Recurrent("elman", D, H, bias=False).double()
    x = torch.randn(12, 3, D, dtype=torch.float64)
    cell: Any = network.cells[0]
    V = torch.eye(H, dtype=torch.float64)
    reference = BPTT(Network(cell.weight_ih.detach(), cell.weight_hh.detach(), V, g="identity"), x,
                     torch.zeros(12, 3, H), error="squared_error")  # fmt: skip
    found = spectral_norms(look(network, x), lags := (1, 3, 12), iterations=100)
    want = [np.linalg.norm(reference.jacobian(12, 12 - lag), 2, axis=(1, 2)) for lag in lags]
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-8)
    few = spectral_norms(look(network, x), lags, iterations=10)
    np.testing.assert_allclose(few.numpy(), want, rtol=0.02)


def test_spectral_norms_of_all_states_together_and_of_rows_of_other_lengths() -> None:
    torch.manual_seed(0)
    network = Recurrent("lstm", D, 3).double()
    x, lengths = torch.randn(6, 2, D, dtype=torch.float64), torch.tensor([6, 3])
    found = spectral_norms(look(network, x, lengths=lengths), (2, 4), iterations=200)
    with torch.no_grad():
        before = network(x[:4, :1])[1]

    def two_steps(state: torch.Tensor) -> torch.Tensor:
        return torch.cat(network(x[4:6, :1], tuple(state.view(2, 1, 1, 3)))[1]).flatten()

    jacobian = torch.autograd.functional.jacobian(two_steps, torch.cat(before).flatten())
    assert float(found[0, 0]) == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=1e-8)
    assert math.isfinite(float(found[0, 1])) and math.isnan(float(found[1, 1]))


def exponential(factor: float, lags: int = 40) -> Decay:
    return Decay.of(factor ** torch.arange(lags + 1, dtype=torch.float64)[:, None].expand(-1, 3))


def test_reach_half_life_and_rate_of_an_exponential() -> None:
    decay = exponential(0.8)
    assert decay.reach() == (pytest.approx(math.log(0.01) / math.log(0.8)), True)
    assert decay.half_life() == (pytest.approx(math.log(0.5) / math.log(0.8)), True)
    assert decay.rate() == pytest.approx(0.8)


def test_the_rate_weighs_each_lag_by_the_errors_that_have_it() -> None:
    left, pairs = torch.tensor([1.0, 0.5, 0.4, 0.01], dtype=torch.float64), torch.tensor([9, 9, 4, 1])
    scale = pairs.double().sqrt()
    lag = torch.arange(4, dtype=torch.float64)
    wanted = torch.linalg.lstsq((scale * lag)[:, None], (scale * left.log())[:, None]).solution.exp().item()
    assert Decay(left, pairs).rate() == pytest.approx(wanted)
    assert Decay(left, torch.ones(4)).rate() != pytest.approx(wanted, rel=0.05)


def test_a_gradient_that_stays_reaches_beyond_what_there_is() -> None:
    assert exponential(0.99).reach() == (40.0, False)
    assert exponential(1.3).reach() == (40.0, False)


def test_a_gradient_that_comes_back_has_not_vanished() -> None:
    left = torch.tensor([1.0, 0.001, 0.5, 0.001, 0.0005, 0.0001], dtype=torch.float64)
    assert Decay.of(left[:, None]).reach()[0] == pytest.approx(2 + math.log(50) / math.log(500))


def test_lags_that_only_some_errors_have_are_compared_with_these_alone() -> None:
    norms = torch.tensor([[1.0, 100.0], [0.5, 50.0], [0.25, math.nan]], dtype=torch.float64)
    decay = Decay.of(norms)
    assert decay.left.tolist() == [1, 0.5, 0.25] and decay.pairs.tolist() == [2, 2, 1]


def test_a_gradient_that_is_gone_at_once() -> None:
    decay = Decay.of(torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64))
    assert decay.reach() == (1.0, True) and math.isnan(decay.rate())


def gates_of(cell: str, **options: Any) -> tuple[Any, Any, torch.Tensor]:
    torch.manual_seed(0)
    network, x = Recurrent(cell, D, H, **options), torch.randn(10, 4, D)
    trace = look(network, x).trace
    return network.cells[0], trace, x


def test_the_gates_of_an_lstm_are_named_right() -> None:
    cell, trace, _ = gates_of("lstm")
    weights = [getattr(cell, name).detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    run = gated.LSTM(*weights).forward(trace.x.double())
    found = {a.name: a.mean for a in activations(cell, trace.squashed, torch.ones(trace.x.shape[:2]).bool())}
    want = {"forget gate": run.f, "input gate": run.i, "candidate": run.g, "output gate": run.o}
    for name, values in {**want, "cell output": np.tanh(run.c)}.items():
        assert found[name] == pytest.approx(values.mean(), abs=1e-6)


NAMED = [name for name, factory in CELLS.items() if getattr(factory, "activation_names", ())]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NAMED), ("lstm", {"coupled": True})])
def test_every_named_cell_calls_as_many_squashing_functions_as_there_are_names(name: str, options: dict) -> None:
    made, trace, _ = gates_of(name, **options)
    found = activations(made, trace.squashed, torch.ones(trace.x.shape[:2]).bool())
    assert len(NAMED) >= 8 and [a.name for a in found] == list(made.activation_names)


def test_saturated_and_dead_units_are_counted_inside_the_rows_only() -> None:
    squashed = [[("tanh", torch.tensor([[0.99, 0.0]])), ("relu", torch.tensor([[0.0, 1.0]]))],
                [("tanh", torch.tensor([[0.0, 0.0]])), ("relu", torch.tensor([[5.0, 5.0]]))]]  # fmt: skip
    tanh, relu = activations(nn.Identity(), squashed, torch.tensor([[True], [False]]))
    assert (tanh.name, tanh.saturated, relu.saturated) == ("tanh 1", 0.5, 0.5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_forgetting_is_starting_anew_before_every_step(bidirectional: bool) -> None:
    torch.manual_seed(0)
    network = Recurrent("lstm", D, 5, 2, bidirectional=bidirectional).double()
    x, lengths = torch.randn(9, 4, D, dtype=torch.float64), torch.tensor([9, 7, 3, 0])
    state = None if bidirectional else network(torch.randn(3, 4, D, dtype=torch.float64))[1]
    with torch.no_grad():
        full, _ = network(x, state, lengths=lengths)
        with limited_context(network, 20):
            torch.testing.assert_close(network(x, state, lengths=lengths)[0], full)
        with limited_context(network, 2):
            short, last = network(x, state, lengths=lengths)
        for b in range(4):
            for t in range(int(lengths[b])):
                first, after = max(0, t - 2), min(int(lengths[b]), t + 3) if bidirectional else t + 1
                given = tuple(s[:, b : b + 1] for s in state) if state and first == 0 else None
                window, _ = network(x[first:after, b : b + 1], given)
                torch.testing.assert_close(short[t, b], window[t - first, 0])
        _, want = network(x[6:, :1])
        torch.testing.assert_close(last[0][:: network.directions, :1], want[0][:: network.directions])
    assert "forward" not in vars(network)


@pytest.mark.parametrize("memory", [0, 2])
def test_windows_are_run_in_any_number_at_a_time_and_padding_is_not_read(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x, lengths = Recurrent("gru", D, 5).double(), torch.randn(9, 3, D).double(), torch.tensor([9, 4, 0])
    with torch.no_grad(), limited_context(network, memory):
        at_once, _ = network(x, lengths=lengths)
        monkeypatch.setattr("unroll.recurrence.limited_context.CHUNK", 1)
        one_by_one, _ = network(x, lengths=lengths)
    torch.testing.assert_close(one_by_one, at_once)
    assert not at_once[4:, 1].any() and not at_once[:, 2].any()


def test_forgetting_respects_resets() -> None:
    torch.manual_seed(0)
    network, x = Recurrent("gru", D, 5), torch.randn(9, 2, D)
    reset = torch.zeros(9, 2, dtype=torch.bool)
    reset[4, 0] = True
    with torch.no_grad(), limited_context(network, 6):
        output, _ = network(x, reset=reset)
        torch.testing.assert_close(output[8, 0], network(x[4:, :1])[0][-1, 0])


def test_a_mixed_state_is_that_of_the_next_row() -> None:
    torch.manual_seed(0)
    network, x = Recurrent("lstm", D, 5, 2).double(), torch.randn(9, 3, D, dtype=torch.float64)
    state = network(torch.randn(3, 3, D, dtype=torch.float64))[1]
    with torch.no_grad():
        with limited_context(network, 2, mixed=True):
            output, _ = network(x, state)
        _, other = network(x[:4, 2:], tuple(s[:, 2:] for s in state))
        torch.testing.assert_close(output[6, 1], network(x[4:7, 1:2], other)[0][-1, 0])
        torch.testing.assert_close(output[:3], network(x[:3], state)[0])
