"""The laws, for every cell and every deterministic option, in both directions, in float64 and float32.

One line in CELLS checks a new cell against all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import CELLS as NAMED
from unroll.recurrence import Cell, Recurrent, State
from unroll.recurrence.changes import places
from unroll.recurrence.conformance import LAWS, STREAMING, Law, Trial, check_cell, derivatives, exported, hold, noticed
from unroll.recurrence.registry import make_cell


class LeakyCell(Cell):
    """A cell that a user writes: h_t = (1 - a) h_{t-1} + a tanh(U x_t + W h_{t-1})."""

    def __init__(self, input_size: int, hidden_size: int, rate: float = 0.3) -> None:
        super().__init__(input_size, hidden_size)
        self.rate = rate
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        new = torch.tanh(u + F.linear(state[0], self.weight_hh))
        hidden = (1 - self.rate) * state[0] + self.rate * new
        return hidden, (hidden,)


CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (name, {}) for name in NAMED},
    "leaky": (LeakyCell, {}),
    "elman relu": ("elman", {"f": "relu"}),
    "elman sigmoid": ("elman", {"f": "sigmoid", "bias": False}),
    "elman sine": ("elman", {"f": torch.sin}),
    "lstm peephole": ("lstm", {"peephole": True}),
    "lstm coupled": ("lstm", {"coupled": True}),
    "lstm projection": ("lstm", {"projection": 2, "bias": False}),
    "lstm all": ("lstm", {"peephole": True, "coupled": True, "projection": 3}),
    "gru before": ("gru", {"reset_gate": "before"}),
    "gru no bias": ("gru", {"bias": False}),
    "indrnn tanh": ("indrnn", {"f": "tanh"}),
    "ligru bare": ("ligru", {"normalised": False}),
    "slstm heads": ("slstm", {"heads": 2, "forget_gate": "exponential"}),
    "mingru positive": ("mingru", {"candidate": "positive"}),
}
NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "two layers": ("gru", {"layers": 2, "learn_initial": True, "init": ("orthogonal", "forget")}),
    "sizes that differ": ("lstm", {"hidden_size": (4, 2, 3), "skip": True}),
    "residual": ("mgu", {"layers": 3, "residual": True}),
    "residual and skip": ("mingru", {"layers": 2, "residual": True, "skip": True, "learn_initial": True}),
    "zoneout": ("lstm", {"zoneout": (0.1, 0.3), "layers": 2}),
    "all dropouts": ("lstm", {"zoneout": 0.2, "dropout": 0.5, "variational": 0.5, "weight_drop": 0.5, "layers": 2}),
    "learned and stabilised": ("slstm", {"learn_initial": True, "init": "chrono:9"}),
}
CASES = CELLS | NETWORKS
MAPS = ("convlstm", "convgru")


def network_of(case: str, bidirectional: bool, dtype: torch.dtype) -> Recurrent:
    """The network of a case, with weights that only the case's name decides, as in evaluation."""
    cell, options = CASES[case]
    torch.manual_seed(len(case))
    options = {"hidden_size": 4} | options
    return Recurrent(cell, 3, bidirectional=bidirectional, **options).to(dtype).eval()


@st.composite
def trials(draw: Callable[..., Any]) -> Trial:
    """Up to six steps and four rows, rows of no steps among them."""
    steps = draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(0, steps), min_size=1, max_size=4))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    return Trial(steps, tuple(lengths), draw(st.integers(0, 10_000)), dtype=dtype)


def holds(law: Law, case: str, bidirectional: bool, trial: Trial) -> None:
    extent = (3, 2) if case in MAPS else ()
    network = network_of(case, bidirectional, trial.dtype)
    hold(law, network, Trial(trial.steps, trial.lengths, trial.seed, extent, trial.dtype))


def directions_of(law: Law) -> list[bool]:
    return [False] if law in STREAMING else [False, True]


SLOW = (derivatives, exported, noticed)
PAIRS = [(law, both) for law in LAWS for both in directions_of(law) if law not in SLOW]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("law", "bidirectional"), PAIRS, ids=lambda x: x.__name__ if callable(x) else "<>" if x else ">"
)
@settings(max_examples=6)
@given(trial=trials())
@example(trial=Trial(1, (1,)))
@example(trial=Trial(4, (0, 0)))
@example(trial=Trial(5, (0, 5, 2), dtype=torch.float32))
def test_law(law: Law, bidirectional: bool, case: str, trial: Trial) -> None:
    holds(law, case, bidirectional, trial)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=[">", "<>"])
def test_derivatives(case: str, bidirectional: bool) -> None:
    holds(derivatives, case, bidirectional, Trial(3, (3, 2), seed=1))


@pytest.mark.parametrize("case", CASES)
def test_changed_numbers_are_noticed(case: str) -> None:
    holds(noticed, case, False, Trial(3, (3, 2), seed=1, dtype=torch.float32))


@pytest.mark.parametrize("case", CASES)
def test_export_of_a_step(case: str) -> None:
    holds(exported, case, False, Trial(1, (1, 1)))


def test_a_new_cell_is_checked_by_one_call() -> None:
    check_cell(LeakyCell, trials=2, rate=0.5)


def test_a_cell_that_breaks_the_law_is_caught() -> None:
    class CountsItsRows(LeakyCell):
        def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
            return super().step(u * len(u), state)

    with pytest.raises(AssertionError, match="padded does not hold"):
        check_cell(CountsItsRows, trials=2)


elsewhere = ModuleType("elsewhere")
elsewhere.rate = 0.3


@dataclass
class Rates:
    new: float = 0.3


class ReadsElsewhere(LeakyCell):
    """Its rate is another module's, which nobody sees change."""

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = (1 - elsewhere.rate) * state[0] + elsewhere.rate * torch.tanh(u)
        return hidden, (hidden,)


class ReadsAnObject(LeakyCell):
    """Its rate is an object's, so that it stays on the loop."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.rates = Rates()

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = (1 - self.rates.new) * state[0] + self.rates.new * torch.tanh(u)
        return hidden, (hidden,)


def test_a_cell_whose_changes_cannot_be_noticed_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"noticed does not hold(.|\n)*a change of elsewhere.rate is not noticed"):
        check_cell(ReadsElsewhere, trials=1)
    assert elsewhere.rate == 0.3


def test_all_numbers_of_a_cell_are_found() -> None:
    cell = make_cell("cornn", 3, 4)
    assert {"dt", "frequency", "damping"} <= {place.name for place in places(cell)}
    network = Recurrent(ReadsAnObject, 3, 4)
    assert {"rates.new", "rate"} <= {place.name for place in places(network._cell(0))}
    hold(noticed, network, Trial(3, (3, 2), dtype=torch.float32))
    assert network.ran == "eager"


class NeverTheSame(Recurrent):
    """Each call gives something else, so that no two ways of computing agree."""

    calls = 0

    def forward(self, *given: Any, **named: Any) -> Any:
        output, state = super().forward(*given, **named)
        return self._other(output), state

    def step(self, *given: Any, **named: Any) -> Any:
        output, state = super().step(*given, **named)
        return self._other(output), state

    def _other(self, output: Tensor) -> Tensor:
        self.calls += 1
        return output + 0.1 * self.calls


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_each_law_is_broken_by_what_is_never_the_same(law: Law) -> None:
    dtype = torch.float32 if law is noticed else torch.float64
    with pytest.raises(AssertionError):
        hold(law, NeverTheSame("gru", 3, 4).to(dtype), Trial(3, (3, 2), dtype=dtype))


class ReadsElsewhereAndItsSize(ReadsElsewhere):
    """A change of its size, which comes before, is one with which nothing can be computed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.own_size = hidden_size

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        if self.own_size != self.hidden_size:
            raise ValueError("another size")
        return super().step(u, state)


def test_a_change_with_which_nothing_can_be_computed_is_passed_over() -> None:
    with pytest.raises(AssertionError, match=r"a change of elsewhere.rate is not noticed"):
        hold(noticed, Recurrent(ReadsElsewhereAndItsSize, 3, 4), Trial(3, (3, 2), dtype=torch.float32))
