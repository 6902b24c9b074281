"""Where each bound of the verdict lies, on networks that were put together by hand; and the numbers of remedies."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.unroll.diagnosis.patients import APP, Net
from unroll import app as apps
from unroll.diagnosis.probe import Need, NetworkProbe, _memories, loudest, scalars
from unroll.diagnosis.remedies import remedies
from unroll.diagnosis.remedy_trials import Outcome, Tried, _First, recommended
from unroll.diagnosis.verdict import Finding, _memory, as_json, classify, worst
from unroll.recurrence.decay import Decay
from unroll.recurrence.gates import Activation
from unroll.recurrence.lyapunov import Growth

HEALTHY = Finding("healthy", "net", [], 20.0, False, 5.0, (0.9, 0.8, 1.0), 1.0, 40, None, False)


def decay(*left: float) -> Decay:
    return Decay(torch.tensor(left, dtype=torch.float64), torch.ones(len(left), dtype=torch.int64))


def cell(name: str, one: Decay, **shares: tuple[int, float]) -> Any:
    """With `W=(lag, share)`: that share from that lag on, nothing from others."""

    def share_from(weight: str, lag: int) -> float:
        at, share = shares[weight]
        return share if lag == at else 0.0

    return SimpleNamespace(name=name, longest=lambda: ("hidden", one), shares=shares, share_from=share_from)


def network(*cells: Any, growth: Any = ((0.9, 0.8, 1.0),), activations: Any = None, **more: Any) -> NetworkProbe:
    options: dict[str, Any] = {"name": "net", "steps": 40, "carried": False, "loss": 1.0, **more}
    growths = [Growth(*one) for one in growth] * (len(cells) if len(growth) == 1 else 1)
    return NetworkProbe(cells=list(cells), growth=growths, activations=activations or [[] for _ in cells], **options)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ({"reach": 20.0}, "healthy"),
        ({"reach": 19.9}, "vanishing"),
        ({"reach": 19.9, "saturated": (0.5, "tanh")}, "saturated"),
        ({"reach": 19.9, "saturated": (0.49, "tanh")}, "vanishing"),
        ({"reach": 19.9, "beyond": True}, "healthy"),
        ({"reach": 39.0, "beyond": True, "carried": True}, "truncated"),
        ({"reach": 39.0, "beyond": False, "carried": True}, "healthy"),
        ({"reach": 10.0, "need": 5}, "healthy"),
        ({"reach": 9.9, "need": 5}, "vanishing"),
        ({"reach": 9.9, "need": 0}, "vanishing"),
        ({"reach": 39.0, "beyond": True, "carried": True, "need": 19}, "healthy"),
        ({"reach": 39.0, "beyond": True, "carried": True, "need": 20}, "truncated"),
    ],
)
def test_how_far_back_is_far_enough(found: dict[str, Any], kind: str) -> None:
    assert _memory(replace(HEALTHY, **found)) == kind


@pytest.mark.parametrize(
    ("peak", "growth", "steps", "explodes"),
    [
        (10.0, (1.06, 1.01, 1.1), 40, True),
        (9.9, (1.06, 1.01, 1.1), 40, False),
        (10.0, (1.06, 1.0, 1.1), 40, False),  # it may not grow at all
        (10.0, (1.05, 1.01, 1.1), 40, False),  # 1.05 ** 40 is seven
        (10.0, (1.05, 1.01, 1.1), 50, True),
        (math.inf, (0.5, 0.4, 0.6), 40, True),
        (math.nan, (0.0, 0.0, 0.0), 40, True),
    ],
)
def test_what_is_loud_and_grows_explodes(peak: float, growth: Any, steps: int, explodes: bool) -> None:
    found = classify(
        network(cell("a", decay(1.0, 0.9)), cell("b", decay(1.0, peak, 1.0)), growth=(growth,), steps=steps)
    )
    assert (found.kind == "exploding") == explodes


def test_growth_and_peak_must_be_of_one_cell() -> None:
    quiet, loud = cell("a", decay(1.0, 1.0)), cell("b", decay(1.0, 50.0))
    apart = network(quiet, loud, growth=((1.2, 1.1, 1.3), (0.9, 0.8, 1.0)))
    assert classify(apart).kind != "exploding" and classify(apart).growth == (1.2, 1.1, 1.3)
    assert classify(network(quiet, loud, growth=((0.9, 0.8, 1.0), (1.2, 1.1, 1.3)))).kind == "exploding"


def test_the_furthest_cell_speaks_for_the_network() -> None:
    short, long = decay(1.0, 0.5, 0.001, 0.0), decay(1.0, 0.6, 0.3, 0.001)
    found = classify(network(cell("a", short), cell("b", long), steps=4))
    assert found.reach == long.reach()[0] > short.reach()[0] and found.half_life == long.half_life()[0]
    assert not found.beyond and found.loudest == 0.6
    equal = decay(1.0, 0.7, 0.3, 0.001)  # as far, and more of it
    both = classify(network(cell("a", long), cell("b", replace(equal, left=equal.left)), steps=4))
    assert both.half_life == max(long.half_life()[0], equal.half_life()[0])


def squashed(name: str, function: str, saturated: float, mean: float = 0.5) -> Activation:
    return Activation(name, function, mean, saturated, 0.0, 1.0)


def test_gates_may_rest_at_their_ends_and_candidates_not() -> None:
    gates = [squashed("forget gate", "sigmoid", 0.9), squashed("input gate", "hard", 0.9)]
    candidates = [squashed("candidate", "tanh", 0.6), squashed("output", "sigmoid", 0.8)]
    plain = [squashed("activation", "sigmoid", 0.55)]
    one = cell("layer 1", decay(1.0, 0.001))
    assert classify(network(one, activations=[gates])).saturated == (0.0, "")
    assert classify(network(one, activations=[gates + candidates])).saturated == (0.6, "candidate of layer 1")
    assert classify(network(one, activations=[plain])).saturated == (0.55, "activation of layer 1")


def test_what_comes_from_afar_is_the_largest_share_of_any_cell() -> None:
    first, second = cell("a", decay(1.0, 0.5), W=(4, 0.2), U=(4, 0.1)), cell("b", decay(1.0, 0.5), W=(4, 0.3))
    assert classify(network(first, second)).shares == {"W": 0.3, "U": 0.1}
    assert classify(network(cell("a", decay(1.0, 0.5)), steps=9)).shares == {}
    assert classify(network(cell("a", decay(1.0, 0.5), W=(1, 0.7)), steps=9)).shares == {"W": 0.7}


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (0, "the loss does not depend on the state"),
        (1, "the loss depends on the last 1 steps, well within the gradient's reach"),
        (2, "the loss depends on the last 2 steps, about as far as the gradient reaches"),
        (4, "the loss depends on the last 4 steps, further than the gradient reaches"),
    ],
)
def test_what_the_loss_needs_is_said(need: int, said: str) -> None:
    lags = (0, 1, 2, 4)
    needs = Need(lags, tuple(2.0 if lag < need else 1.0 for lag in lags), 1.0)
    found = classify(network(cell("a", decay(1.0, 0.5, 0.02, 0.0001)), steps=4), needs)
    assert 2.0 < found.reach < 3.0 and found.need == need and found.because[-1].startswith(said)


@pytest.mark.parametrize(
    ("full", "losses", "worth", "steps"),
    [
        (1.0, (1.01, 1.0, 1.0), 0.01, 1),
        (1.0, (1.009, 1.0, 1.0), 0.009, 0),
        (2.0, (4.0, 2.04, 2.0), 1.0, 1),
        (2.0, (4.0, 2.041, 2.0), 1.0, 2),
        (2.0, (4.0, 2.0, 2.2), 1.0, 2),
        (1.0, (0.5, 1.0, 1.0), 0.0, 0),
        (-2.0, (-1.0, -2.0, -2.0), 0.5, 1),
    ],
)
def test_a_memory_is_long_enough_from_where_two_per_cent_are_lost(
    full: float, losses: Any, worth: float, steps: int
) -> None:
    found = Need((0, 1, 2), losses, full)
    assert found.worth == pytest.approx(worth) and found.steps == steps


@pytest.mark.parametrize(
    ("steps", "carried", "lags"),
    [
        (16, False, [1, 2, 4, 8]),
        (17, False, [1, 2, 4, 8, 16]),
        (16, True, [1, 2, 4]),
        (17, True, [1, 2, 4, 8]),
        (1, False, []),
    ],
)
def test_memories_that_are_tried_fit_into_the_sequence(steps: int, carried: bool, lags: list[int]) -> None:
    calls: Any = {"a": [SimpleNamespace(steps=1), SimpleNamespace(steps=steps)], "b": []}
    assert _memories(calls, carried) == lags
    assert _memories({}, carried) == []


def test_the_numbers_of_a_probe_are_extremes_over_networks_and_cells() -> None:
    short, long = decay(1.0, 0.4, 0.0), decay(1.0, 3.0, 0.7, 0.0)
    gates = [[squashed("forget gate", "sigmoid", 0.2, 0.5), squashed("candidate", "tanh", 0.6)],
             [squashed("forget gate", "sigmoid", 0.1, 0.8)]]  # fmt: skip
    one = network(cell("a", short), cell("b", long), growth=((0.9, 0.8, 1.0), (1.1, 1.0, 1.2)), activations=gates)
    other = network(cell("c", short), activations=[[squashed("reset and update gate", "sigmoid", 0.0, 0.25)]])
    assert scalars([one]) == pytest.approx(
        {
            "probe/reach": long.reach()[0], "probe/half_life": long.half_life()[0], "probe/growth": 1.1,
            "probe/loudest": 3.0, "probe/saturated": 0.6, "probe/forget_gate": 0.65,
        }
    )  # fmt: skip
    both = scalars([one, other])
    assert both["probe/reach"] == short.reach()[0] and both["probe/half_life"] == short.half_life()[0]
    assert both["probe/reset_and_update_gate"] == 0.25 and both["probe/growth"] == 1.1
    assert "probe/saturated" not in scalars([network(cell("c", short))])
    assert loudest(torch.tensor([5.0])) == 1.0 and loudest(torch.tensor([5.0, 0.5])) == 0.5


def test_the_worst_comes_first_and_json_is_finite() -> None:
    order = ["exploding", "saturated", "vanishing", "truncated", "healthy"]
    found = [replace(HEALTHY, kind=kind) for kind in order]
    for number in range(len(order)):
        assert worst(found[number:][::-1]).kind == order[number]
    values = as_json(replace(HEALTHY, growth=(1.5, 1.0, math.inf), loudest=math.inf, saturated=(0.25, "x")))
    assert (values["growth"], values["growth_interval"], values["loudest"]) == (1.5, [1.0, 1e30], 1e30)
    assert values["saturated"] == 0.25


def settings_of(kind: Any, cell: str, given: tuple[str, ...] = (), **found: Any) -> dict[str, tuple[str, ...]]:
    config = APP.config(settings=(f"model.cell={cell}", *given))
    some = remedies(replace(HEALTHY, kind=kind, **found), config, Net(cell, 3, 8))
    return {remedy.name: remedy.settings for remedy in some}


def test_remedies_in_numbers() -> None:
    exploding = settings_of("exploding", "elman", ("optimizer.clip=2", "optimizer.lr=0.06"))
    assert exploding["clip the gradient at 0.5"] == ("optimizer.clip=0.5",)
    assert exploding["learning rate 0.02"] == ("optimizer.lr=0.02",)
    assert settings_of("exploding", "lstm", ("optimizer.clip=0",))["clip the gradient at 1"] == ("optimizer.clip=1",)
    assert settings_of("exploding", "gru")["cell layernorm-gru"] == ("model.cell=layernorm-gru",)
    vanishing = settings_of("vanishing", "lstm", steps=40)
    assert (
        "chrono initialisation for 40 steps" in vanishing and f"memory gates biased by {math.log(10):.1f}" in vanishing
    )
    few = settings_of("vanishing", "lstm", steps=3)
    assert "chrono initialisation for 4 steps" in few and f"memory gates biased by {math.log(2):.1f}" in few
    config = apps.load("language").config(settings=["train.window=30"])
    found = remedies(replace(HEALTHY, kind="truncated"), config, Net("lstm", 3, 8))
    assert [remedy.name for remedy in found] == ["windows of 60 steps", "windows of 120 steps"]


@pytest.mark.parametrize(("steps", "kept"), [(40, 0.91), (4, 0.67)])
def test_an_open_gate_keeps_what_its_bias_says(steps: int, kept: float) -> None:
    config = APP.config(settings=("model.cell=lstm",))
    some = remedies(replace(HEALTHY, kind="vanishing", steps=steps), config, Net("lstm", 3, 8))
    [forget] = [one for one in some if one.name.startswith("memory gates")]
    assert f"keeps {kept:.2f} of the memory; now it keeps 0.90" in forget.reason


@pytest.mark.parametrize(("many", "length", "wanted"), [(3, 3, [0, 1, 2]), (9, 5, [0, 1, 2, 3, 4])])
def test_a_try_takes_the_first_batches_of_each_epoch(many: int, length: int, wanted: list[int]) -> None:
    first = _First(list(range(5)), many)
    assert len(first) == length and list(first) == list(first) == wanted


def test_nothing_is_recommended_that_ties_with_nothing() -> None:
    before = Tried(None, [Outcome(loss, 1.0, 1.0, "healthy", 1.0) for loss in (1.0, 1.0)])
    assert recommended([before, replace(before)]) is None and recommended([before]) is None


@pytest.mark.parametrize(
    ("options", "offered"), [({"layers": 1}, False), ({"layers": 2}, True), ({"layers": 2, "residual": True}, False)]
)
def test_layers_are_bridged_where_there_are_some_to_bridge(options: dict[str, Any], offered: bool) -> None:
    config, model = APP.config(settings=("model.cell=lstm",)), Net("lstm", 3, 8, **options)
    found = {one.name: one for one in remedies(replace(HEALTHY, kind="vanishing"), config, model)}
    assert ("residual layers" in found) == offered
    if offered:
        shallow = Net("lstm", 3, 8)
        for one in (model, shallow):
            found["residual layers"].change(one)  # type: ignore[misc]
        assert model.rnn.residual and not shallow.rnn.residual


def test_zoneout_is_offered_once() -> None:
    config = APP.config(settings=("model.cell=lstm",))
    for zoneout, offered in (((0.0, 0.0), True), ((0.1, 0.0), False)):
        some = remedies(replace(HEALTHY, kind="vanishing"), config, Net("lstm", 3, 8, zoneout=zoneout))
        assert ("zoneout of 0.1" in [one.name for one in some]) == offered
