"""The verdict is right for networks built to vanish, explode, saturate, be truncated, or be healthy."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.unroll.diagnosis.patients import APP, STREAM, D, K, Net, elman, quiet
from unroll.app import Step
from unroll.diagnosis.probe import Need, need, probe
from unroll.diagnosis.verdict import Finding, as_json, classify, worst
from unroll.errors import UserError
from unroll.recurrence import Recurrent
from unroll.recurrence.recording import Call
from unroll.recurrence.state import detach

SEEDS = 100
HEALTHY: list[dict[str, Any]] = [
    {"cell": "lstm", "init": "forget:3"},
    {"cell": "lstm", "init": "chrono:40"},
    {"cell": "gru", "init": "chrono:40"},
    {"cell": "gru", "init": "forget:3"},
    {"cell": "elman", "f": "identity", "init": "orthogonal"},
    {"cell": "elman", "f": "relu", "init": "identity"},
    {"cell": "cornn"},
    {"cell": "mingru", "init": "chrono:40"},
    {"cell": "rglru"},
    {"cell": "lstm", "init": "forget:3", "layers": 2, "bidirectional": True},
]


def verdict(net: nn.Module, batch: Any, app: Any = APP, **options: Any) -> Finding:
    [seen] = probe(app, net, batch, rows=2, targets=2, shares=False)
    return classify(seen, **options)


@pytest.mark.parametrize(("radius", "kind"), [(0.5, "vanishing"), (1.5, "exploding")])
@pytest.mark.parametrize("f", ["tanh", "relu", "sigmoid"])
def test_vanishing_and_exploding_are_told_in_a_hundred_of_a_hundred(f: str, radius: float, kind: str) -> None:
    kinds = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        kinds.append(verdict(elman(f, radius), quiet(f)).kind)
    assert kinds == [kind] * SEEDS


def test_the_healthy_are_not_accused() -> None:
    accused = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        options = dict(HEALTHY[seed % len(HEALTHY)])
        net = Net(options.pop("cell"), D, 16, **options)
        found = verdict(net, (torch.randn(40, 2, D), torch.randint(K, (40, 2))))
        accused += [found] if found.kind != "healthy" else []
    assert len(accused) <= 2, [found.because for found in accused]


def test_stuck_units_are_told_from_weak_weights() -> None:
    torch.manual_seed(0)
    net = elman("tanh", 0.5)
    with torch.no_grad():
        net.rnn.cells[0].weight_ih.mul_(1e7)
    found = verdict(net, quiet("tanh"))
    assert found.kind == "saturated" and found.saturated[1] == "activation of layer 1"
    assert "% of the values of the activation of layer 1 lie where its slope is almost zero" in " ".join(found.because)


def test_dead_units_are_saturated_too() -> None:
    torch.manual_seed(0)
    net = Net("elman", D, 16, f="relu")
    with torch.no_grad():
        net.rnn.cells[0].bias_ih[2:].fill_(-50)
        net.rnn.cells[0].weight_hh.mul_(0.3)
    assert verdict(net, (torch.randn(32, 2, D), torch.randint(K, (32, 2)))).kind == "saturated"


def stream(seed: int, lag: int, window: int = 20, count: int = 40) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Windows of one long stream of which each answer is the sign that came `lag` steps before."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count * window, 8, D, generator=generator)
    y = (x.roll(lag, 0)[..., 0] > 0).long()
    return list(zip(x.split(window), y.split(window), strict=True))


def trained(net: Net, batches: Any) -> tuple[Net, list[tuple[Any, Any]]]:
    optimizer, state, pairs = torch.optim.Adam(net.parameters(), lr=0.01), None, []
    for batch in batches:
        pairs.append((batch, state))
        optimizer.zero_grad()
        done: Step = STREAM.step(net, batch, state)
        done.loss.backward()
        optimizer.step()
        state = detach(done.state)
    return net, pairs


@pytest.mark.parametrize("seed", range(5))
def test_a_dependency_of_sixty_steps_in_windows_of_twenty(seed: int) -> None:
    torch.manual_seed(seed)
    net, pairs = trained(Net("lstm", D, 16, init="chrono:60"), stream(seed, lag=60))
    needs = need(STREAM, net, pairs[-4:], [1, 2, 4, 8])
    [seen] = probe(STREAM, net, *pairs[-1], rows=4, targets=4)
    found = classify(seen, needs["rnn"])
    assert found.kind == "truncated"
    assert "the window of 20 steps cuts off a gradient that would reach further" in found.because


def test_a_window_that_is_long_enough_is_not_blamed() -> None:
    torch.manual_seed(0)
    net, pairs = trained(Net("gru", D, 16, init="chrono:60"), stream(0, lag=1, count=250))
    needs = need(STREAM, net, pairs[-4:], [1, 2, 4, 8])
    [seen] = probe(STREAM, net, *pairs[-1], rows=4, targets=4)
    assert classify(seen).kind == "truncated", "without knowing what the loss needs, the window is suspect"
    assert 1 <= needs["rnn"].steps <= 4
    assert classify(seen, needs["rnn"]).kind == "healthy"


def test_need_is_the_lag_that_the_task_has() -> None:
    torch.manual_seed(0)
    net = Net("elman", D, 12, f="identity")
    cell: Any = net.rnn.cells[0]
    with torch.no_grad():  # a shift register: unit j holds the input of j steps ago, and the last one is read
        for p in net.parameters():
            p.zero_()
        cell.weight_ih[0, 0] = 1
        cell.weight_hh[range(1, 6), range(5)] = 1
        net.out.weight[1, 5], net.out.weight[0, 5] = 4, -4
        net.out.bias[2:] = -20
    x = torch.randn(40, 4, D)
    y = torch.cat([torch.zeros(5, 4), (x[:-5, :, 0] > 0).float()]).long()
    found = need(APP, net, [((x, y), None)], [1, 2, 4, 5, 8, 16])["rnn"]
    assert found.steps == 5 and found.worth > 1
    assert found.losses[-1] == pytest.approx(found.full)


def test_need_in_numbers() -> None:
    assert Need((0, 1, 2, 4), (2.0, 1.5, 1.01, 1.0), 1.0).steps == 2
    assert Need((0, 1, 2), (1.005, 1.0, 1.0), 1.0).steps == 0, "memory is worth half a per cent: it is not used"
    assert Need((0, 1, 2), (101.0, 100.0, 100.0), 100.0).steps == 1, "one per cent is not less than one"
    assert Need((0, 1, 2), (3.0, 2.0, 1.9), 1.0).steps == 2, "no memory that was tried is enough"


@pytest.mark.parametrize(("steps", "kind"), [(0, "vanishing"), (1, "healthy"), (8, "vanishing")])
def test_a_short_reach_is_forgiven_where_the_loss_uses_half_of_it_at_most(steps: int, kind: str) -> None:
    torch.manual_seed(0)
    losses = tuple(1.0 if lag >= steps else 2.0 for lag in (0, 1, 2, 4, 8))
    assert verdict(elman("tanh", 0.5), quiet("tanh"), need=Need((0, 1, 2, 4, 8), losses, 1.0)).kind == kind


def test_the_worst_network_speaks_for_the_model_and_json_holds_numbers_only() -> None:
    torch.manual_seed(0)
    findings = [verdict(elman("tanh", radius), quiet("tanh")) for radius in (0.5, 1.5)]
    assert worst(findings).kind == "exploding"
    values = as_json(findings[1])
    assert values["kind"] == "exploding" and values["growth"] == pytest.approx(1.5, rel=0.05)


def test_what_cannot_be_probed_is_one_line() -> None:
    class Plain(nn.Linear):
        rnn = None

    with pytest.raises(UserError, match=r"toy: Plain holds no unroll\.recurrence\.Recurrent to look at"):
        probe(APP, Plain(2, 2), quiet("tanh"))
    x, y = quiet("tanh")
    with pytest.raises(UserError, match="the loss of the probed batch is nan"):
        probe(APP, elman("tanh", 0.5), (x * float("nan"), y))

    class Unread(Net):
        pass

    def step(model: Any, batch: Any, state: Any) -> Step:
        model.rnn(batch[0])
        return Step(model.out.weight.sum(), 1)

    with pytest.raises(UserError, match=r"the loss depends on no unroll\.recurrence\.Recurrent"):
        probe(replace(APP, step=step), Unread("gru", D, 4), quiet("tanh"))


def test_a_network_that_cannot_be_run_again_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a loss that does not read it leaves a network out: any other trouble is told."""

    def refuses(call: Any, rows: Any) -> None:
        raise ValueError("lengths must be at most 3, got 4")

    monkeypatch.setattr(Call, "again", refuses)
    with pytest.raises(UserError, match="toy: the gradient cannot be followed through rnn: lengths must be at most 3"):
        probe(APP, elman("tanh", 0.5), quiet("tanh"))


def test_a_decoder_that_runs_step_by_step_has_no_need_measured() -> None:
    def step(model: Any, batch: Any, state: Any) -> Step:
        outputs, carry = [], None
        for x in batch[0]:
            output, carry = model.rnn.step(x, carry)
            outputs.append(output)
        return Step(model.out(torch.stack(outputs)).square().mean(), 1)

    app = replace(APP, step=step)
    net = Net("gru", D, 4)
    assert isinstance(net.rnn, Recurrent) and need(app, net, [(quiet("tanh"), None)], [1]) == {}
    assert probe(app, net, quiet("tanh"))[0].steps == 32
