"""Each kind of dropout does what its name says, and nothing else."""

import copy
import math
import sys
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent, VariationalDropout
from unroll.recurrence.cells import ElmanCell

KINDS: list[dict[str, Any]] = [
    {"dropout": 0.5},
    {"variational": 0.5},
    {"variational": (0.5, 0.0, 0.0)},
    {"variational": (0.0, 0.5, 0.0)},
    {"variational": (0.0, 0.0, 0.5)},
    {"weight_drop": 0.5},
    {"zoneout": (0.5, 0.5)},
]
X = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))


def network(cell: Any = "lstm", **options: Any) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(cell, 5, 8, 2, **options)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_random_in_training_only_and_reproducible(options: dict[str, Any]) -> None:
    model = network(**options)
    torch.manual_seed(1)
    first, _ = model(X)
    other, _ = model(X)
    torch.manual_seed(1)
    again, _ = model(X)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    model.eval()
    assert torch.equal(model(X)[0], model(X)[0])


@pytest.mark.parametrize("options", [kind for kind in KINDS if "zoneout" not in kind], ids=str)
def test_evaluation_is_the_network_without_dropout(options: dict[str, Any]) -> None:
    assert torch.equal(network(**options).eval()(X)[0], network()(X)[0])


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_every_parameter_is_trained_and_none_is_new(options: dict[str, Any]) -> None:
    model = network(**options)
    assert list(model.state_dict()) == list(network().state_dict())
    model(X)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


class Inputs(ElmanCell):
    """Keeps what it was given."""

    seen: list[Tensor]

    def project(self, x: Tensor) -> Tensor:
        self.seen = [x]
        return super().project(x)

    def step(self, u: Tensor, state: Any, mask: Tensor | None = None) -> Any:
        self.seen.append(torch.ones_like(u) if mask is None else mask)
        return super().step(u, state, mask)


def test_variational_uses_one_mask_for_all_steps() -> None:
    model = network(Inputs, f="sigmoid", variational=0.5, backend="eager")
    model(torch.ones(6, 3, 5))
    for cell in model.cells:
        dropped = cell.seen[0] == 0
        assert dropped.any()
        assert not dropped.all()
        assert torch.equal(dropped, dropped[:1].expand_as(dropped)), "inputs of the layer"
        assert all(torch.equal(cell.seen[1], mask) for mask in cell.seen[1:]), "hidden state"
        assert set(cell.seen[1].unique().tolist()) == {0.0, 2.0}


def test_between_layers_draws_anew_at_every_step() -> None:
    model = network(Inputs, f="sigmoid", dropout=0.5)
    model(torch.ones(6, 3, 5))
    assert (model.cells[0].seen[0] == 1).all(), "the network's input is not dropped"
    dropped = model.cells[1].seen[0] == 0
    assert not torch.equal(dropped, dropped[:1].expand_as(dropped))


def test_a_dropped_hidden_unit_still_keeps_its_own_memory() -> None:
    """With z = 1 a GRU carries h over; a mask on h itself would double or delete it at each step."""
    for reset_gate in ("after", "before"):
        model = Recurrent("gru", 5, 8, variational=(0.0, 0.0, 0.5), reset_gate=reset_gate)
        with torch.no_grad():
            model.cells[0].bias_ih[8:16] = 100
        before = (torch.rand(1, 3, 8),)
        torch.testing.assert_close(model(X, before)[1], before)


@pytest.mark.parametrize("cell", ["lstm", "gru", "cornn"])
def test_zoneout_keeps_or_updates_whole_units(cell: str) -> None:
    model = Recurrent(cell, 5, 200, zoneout=(0.3, 0.0))
    before = tuple(torch.randn_like(tensor) for tensor in model.initial(3))
    output, after = model(X[:1], before)
    updated = Recurrent(cell, 5, 200)
    updated.load_state_dict(model.state_dict())
    new, everything = updated(X[:1], before)
    kept = after[0] == before[0]
    assert abs(kept.float().mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / kept.numel())  # five standard deviations
    torch.testing.assert_close(torch.where(kept, before[0], new), after[0])
    assert torch.equal(output, after[0]), "the output is the hidden state that is carried on"
    torch.testing.assert_close(after[1:], everything[1:])


def test_zoneout_mixes_in_evaluation() -> None:
    model = Recurrent("lstm", 5, 8, zoneout=(0.2, 0.6)).eval()
    before = tuple(torch.randn_like(tensor) for tensor in model.initial(3))
    plain = Recurrent("lstm", 5, 8)
    plain.load_state_dict(model.state_dict())
    _, (hidden, cell) = model(X[:1], before)
    _, (new_hidden, new_cell) = plain(X[:1], before)
    torch.testing.assert_close(hidden, 0.2 * before[0] + 0.8 * new_hidden)
    torch.testing.assert_close(cell, 0.6 * before[1] + 0.4 * new_cell)


def test_zoneout_of_everything_keeps_the_state() -> None:
    model = Recurrent("lstm", 5, 8, zoneout=1.0)
    before = tuple(torch.randn_like(tensor) for tensor in model.initial(3))
    assert all(torch.equal(a, b) for a, b in zip(model(X, before)[1], before, strict=True))


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "indrnn", "slstm"])
def test_weight_drop_is_the_network_with_dropped_weights(cell: str, backend: str) -> None:
    model = Recurrent(cell, 5, 8, weight_drop=0.4, backend=backend)
    raw = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    output, _ = model(X)
    plain = Recurrent(cell, 5, 8, backend=backend)
    plain.load_state_dict(raw)
    torch.manual_seed(5)
    with torch.no_grad():
        plain.cells[0].weight_hh.copy_(torch.dropout(plain.cells[0].weight_hh, 0.4, True))
    torch.testing.assert_close(output, plain(X)[0])
    for name, value in model.state_dict().items():
        assert torch.equal(value, raw[name]), "the raw weight is what is saved"


def test_weight_drop_trains_the_raw_weight() -> None:
    model = Recurrent("lstm", 5, 8, weight_drop=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    weight = model.cells[0].weight_hh
    before = weight.detach().clone()
    model(X)[0].sum().backward()
    untouched = weight.grad == 0
    assert untouched.any(), "a dropped entry has no gradient"
    optimizer.step()
    assert isinstance(weight, torch.nn.Parameter)
    assert model.cells[0].weight_hh is weight
    assert torch.equal(weight == before, untouched)


def test_weight_drop_survives_an_error_in_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recurrent("mgu", 5, 8, weight_drop=0.5)
    weight = model.cells[0].weight_hh
    monkeypatch.setattr(model.cells[0], "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(X)
    assert model.cells[0].weight_hh is weight


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_threads_that_share_a_network_never_see_each_others_weights(backend: str) -> None:
    model = Recurrent("lstm", 5, 8, weight_drop=0.5, backend=backend)
    raw, wanted = dict(model.named_parameters()), {name: p.clone() for name, p in model.named_parameters()}
    wrong: list[str] = []

    def train() -> None:
        for _ in range(30):
            model(torch.randn(9, 3, 5))[0].sum().backward()
            now = dict(model.named_parameters())
            wrong.extend(name for name in raw if now[name] is not raw[name])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert wrong == []
    assert all(isinstance(p, nn.Parameter) and p.grad is not None for p in model.parameters())
    assert all(torch.equal(raw[name], wanted[name]) for name in raw)


def test_copies_and_second_calls_work_with_weight_drop() -> None:
    model = Recurrent("lstm", 5, 8, weight_drop=0.5)
    loss = model(X)[0].sum() + model(X)[0].sum()
    loss.backward()
    copied = copy.deepcopy(model).eval()
    assert torch.equal(copied(X)[0], model.eval()(X)[0])


def test_variational_dropout_alone() -> None:
    layer = VariationalDropout(0.5)
    x = torch.ones(7, 4, 30)
    dropped = layer(x)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert layer.eval()(x) is x
    assert repr(layer) == "VariationalDropout(p=0.5)"
    with pytest.raises(ValueError, match="p must be a probability from 0 to 1, got nan"):
        VariationalDropout(float("nan"))
