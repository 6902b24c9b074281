"""The microscope agrees with the derivation term by term: for every cell, whatever the lengths, resets, directions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unroll.recurrence import Recurrent
from unroll.recurrence import reference_gated as gated
from unroll.recurrence.gradients import CellGradients, gradients
from unroll.recurrence.memory_tasks import vector_cells
from unroll.recurrence.recording import longest, record
from unroll.recurrence.reference import BPTT, Network

T, B, D, H, K = 9, 3, 4, 5, 3


class Model(nn.Module):
    """A network and a linear output."""

    def __init__(self, *args: Any, seed: int = 0, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.rnn = Recurrent(*args, **options)
        self.out = nn.Linear(self.rnn.output_size, K, bias=False)
        self.double()

    def loss(self, x: Tensor, y: Tensor, **given: Any) -> Tensor:
        """Cross-entropy, summed over all steps and rows."""
        log = self.out(self.rnn(x, **given)[0]).log_softmax(-1)
        return -log.gather(2, y.unsqueeze(2)).sum()


def batch(steps: int = T, rows: int = B, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, rows, D, generator=generator, dtype=torch.float64)
    return x, torch.randint(K, (steps, rows), generator=generator)


def look(model: Model, x: Tensor, y: Tensor, **given: Any) -> list[CellGradients]:
    options = {key: given.pop(key) for key in ("rows", "targets", "shares") if key in given}
    with record(model) as calls:
        loss = model.loss(x, y, **given)
    call = longest(calls["rnn"])
    assert call is not None
    return gradients(loss, call, **{"rows": x.shape[1], "targets": len(x), **options})


@pytest.mark.parametrize("f", ["tanh", "relu", "sigmoid", "identity"])
def test_every_term_is_the_derivations(f: Any) -> None:
    model, (x, y) = Model("elman", D, H, f=f, bias=False), batch()
    S_0 = torch.randn(B, H, dtype=torch.float64)
    cell: Any = model.rnn.cells[0]
    network = Network(cell.weight_ih.detach(), cell.weight_hh.detach(), model.out.weight.detach(), f)
    reference = BPTT(network, x, nn.functional.one_hot(y, K), S_0)
    [seen] = look(model, x, y, state=(S_0[None],))
    for t in range(1, T + 1):
        for k in range(t + 1):
            want = np.linalg.norm(reference.state_gradient(t, k), axis=1)
            np.testing.assert_allclose(seen.norms["hidden"][k, seen.at == t].numpy(), want, rtol=0, atol=1e-10)
    for weight in ("W", "U"):
        terms = reference.terms(weight)
        whole = sum(terms.values())
        for (t, k), term in terms.items():
            share = float(seen.shares[weight][k, seen.at == t].sum())
            assert share == pytest.approx((term * whole).sum() / (whole**2).sum(), abs=1e-10)
        for lag in range(T):
            kept = reference.truncated(weight, lag)
            rest = 1 - (kept * whole).sum() / (whole**2).sum()
            assert seen.share_from(weight, lag + 1) == pytest.approx(rest, abs=1e-10)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gated_cells_agree_with_their_reference(cell: str) -> None:
    model, (x, y) = Model(cell, D, H), batch()
    weights = [getattr(model.rnn.cells[0], name).detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    reference: Any = gated.LSTM(*weights) if cell == "lstm" else gated.GRU(*weights)
    run = reference.forward(x)
    V = model.out.weight.detach().numpy()
    logits = run.h @ V.T
    felt = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) - nn.functional.one_hot(y, K).numpy()) @ V
    [seen] = look(model, x, y)
    for t in range(1, T + 1):
        back = reference.backward(run, np.where(np.arange(1, T + 1)[:, None, None] == t, felt, 0.0))
        for name in seen.norms:
            states = back.h if name == "hidden" else back.c
            start = back.h_0 if name == "hidden" else back.c_0
            want = np.linalg.norm(np.concatenate([start[None], states]), axis=2)
            np.testing.assert_allclose(seen.norms[name][:, seen.at == t].numpy(), want, rtol=0, atol=1e-10)


def unrolled_shares(model: Model, x: Tensor, y: Tensor, weight: str) -> dict[tuple[int, int], float]:
    """Every step with weights of its own: the term (t, k) is the gradient of e_t with respect to those of step k."""
    cell: Any = model.rnn.cells[0]
    recurrent = [name for name, _ in cell.named_parameters(recurse=False) if name in cell.recurrent_weights]
    others = [n for n, _ in cell.named_parameters(recurse=False) if n.startswith("weight") and n not in recurrent]
    names, raw, state = (recurrent if weight == "W" else others), dict(cell._parameters), cell.initial(x.shape[1])
    copies, errors = [], []
    try:
        for x_t, y_t in zip(x, y, strict=True):
            copies.append([raw[name].detach().clone().requires_grad_() for name in names])
            cell._parameters.update(zip(names, copies[-1], strict=True))
            output, state = cell.step(cell.project(x_t[None])[0], state)
            errors.append(-model.out(output).log_softmax(-1).gather(1, y_t[:, None]).sum())
    finally:
        cell._parameters.update(raw)
    terms = {
        (t, k): torch.cat([g.flatten() for g in torch.autograd.grad(errors[t - 1], copies[k - 1], retain_graph=True)])
        for t in range(1, len(x) + 1)
        for k in range(1, t + 1)
    }
    whole: Any = sum(terms.values())
    return {pair: float((term * whole).sum() / whole.square().sum()) for pair, term in terms.items()}


@pytest.mark.parametrize("cell", vector_cells())
def test_the_double_sum_of_every_cell(cell: str) -> None:
    model, (x, y) = Model(cell, D, H), batch(5)
    [seen] = look(model, x, y)
    assert set(seen.shares) == {"U", "W"} if model.rnn.cells[0].recurrent_weights else {"U"}
    for weight, shares in seen.shares.items():
        for (t, k), want in unrolled_shares(model, x, y, weight).items():
            assert float(shares[k, seen.at == t].sum()) == pytest.approx(want, abs=1e-8)
        assert float(seen.share_by_lag(weight).sum()) == pytest.approx(1, abs=1e-8)


def test_convolutional_cells_are_seen_too() -> None:
    torch.manual_seed(0)
    model = nn.Module()
    model.rnn = Recurrent("convlstm", 2, 3)
    with record(model) as calls:
        loss = model.rnn(torch.randn(6, 2, 2, 4, 4))[0].square().mean()
    [seen] = gradients(loss, calls["rnn"][0])
    assert seen.norms["cell"].shape == (7, 12) and float(seen.share_by_lag("W").sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_a_row_alone_is_the_row_in_a_padded_batch_in_both_directions(cell: str) -> None:
    model, (x, y) = Model(cell, D, H, 2, bidirectional=True), batch()
    lengths = torch.tensor([T, 4, 0])
    inside = torch.arange(T)[:, None] < lengths

    def loss(x: Tensor, y: Tensor, lengths: Tensor, weight: Tensor) -> Tensor:
        log = model.out(model.rnn(x, lengths=lengths)[0]).log_softmax(-1)
        return -(log.gather(2, y.unsqueeze(2))[..., 0] * weight).sum()

    with record(model) as calls:
        together = gradients(loss(x, y, lengths, inside), longest(calls["rnn"]), targets=T)
    with record(model) as calls:
        alone = gradients(loss(x[:4, 1:2], y[:4, 1:2], torch.tensor([4]), torch.ones(4, 1)), longest(calls["rnn"]))
    assert len(together) == len(alone) == 4
    for cell in together:  # the lower layer is felt from both sides of t
        assert all(float(cell.share_by_lag(weight).sum()) == pytest.approx(1, abs=1e-8) for weight in cell.shares)
    for a, b in zip(together, alone, strict=True):
        assert set(a.rows.tolist()) == {0, 1}, "a row without steps has no errors"
        for name in a.norms:
            mine = a.norms[name][:5, a.rows == 1]
            torch.testing.assert_close(mine[:, a.at[a.rows == 1].argsort()], b.norms[name][:, b.at.argsort()])


def test_the_backward_cells_are_forward_cells_of_the_reversed_sequence() -> None:
    model, (x, y) = Model("gru", D, H, bidirectional=True), batch()
    with torch.no_grad():
        for mine, other in zip(*(cell.parameters() for cell in model.rnn.cells), strict=True):
            other.copy_(mine)
        model.out.weight[:, H:] = model.out.weight[:, :H]
    symmetric = torch.cat([x, x.flip(0)])
    forward, backward = look(model, symmetric, torch.cat([y, y.flip(0)]), targets=2 * T)
    torch.testing.assert_close(forward.norms["hidden"][:, forward.at.argsort(stable=True)],
                               backward.norms["hidden"][:, backward.at.argsort(stable=True)])  # fmt: skip


def test_nothing_is_felt_across_a_reset() -> None:
    model, (x, y) = Model("lstm", D, H), batch()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[5, 1] = True
    [seen] = look(model, x, y, reset=reset)
    mine = (seen.rows == 1) & (seen.at >= 6)
    assert seen.since[mine].tolist() == [6] * 4 and int(seen.since[~mine].max()) == 0
    assert float(seen.norms["cell"][:6, mine].max()) == 0 < float(seen.norms["cell"][6, mine].min())
    alone = look(model, x[5:, 1:2], y[5:, 1:2])[0]
    torch.testing.assert_close(seen.norms["cell"][6:, mine], alone.norms["cell"][1:])
    assert seen.decay("cell").lags == T, "other rows still have all lags"


def test_a_loss_of_the_last_state_is_an_error_at_each_rows_end() -> None:
    model, (x, _) = Model("gru", D, H), batch()
    lengths = torch.tensor([T, 4, 6])
    ends = lengths - 1

    def seen(loss: Any) -> CellGradients:
        with record(model) as calls:
            value = loss(*model.rnn(x, lengths=lengths))
        return gradients(value, longest(calls["rnn"]))[0]

    by_state = seen(lambda output, state: model.out(state[0][0]).square().sum())
    by_output = seen(lambda output, state: model.out(output[ends, torch.arange(B)]).square().sum())
    assert by_state.at.tolist() == by_output.at.tolist() == lengths.tolist()
    torch.testing.assert_close(by_state.norms, by_output.norms)
    torch.testing.assert_close(by_state.shares, by_output.shares)


def test_decoding_step_by_step_is_one_sequence() -> None:
    model, (x, y) = Model("lstm", D, H), batch()
    with record(model) as calls:
        outputs, state = [], None
        for x_t in x:
            output, state = model.rnn.step(x_t, state)
            outputs.append(output)
        loss = -model.out(torch.stack(outputs)).log_softmax(-1).gather(2, y.unsqueeze(2)).sum()
    [call] = calls["rnn"]
    [stepped], [whole] = gradients(loss, call, rows=B, targets=T), look(model, x, y)
    torch.testing.assert_close(stepped.norms, whole.norms)
    torch.testing.assert_close(stepped.shares, whole.shares)


def test_calls_that_do_not_hand_on_their_state_are_sequences_of_their_own() -> None:
    model, (x, y) = Model("gru", D, H), batch()
    with record(model) as calls:
        loss = model.loss(x[:4], y[:4]) + model.loss(x, y)
    assert [call.steps for call in calls["rnn"]] == [4, T]
    call = longest(calls["rnn"])
    assert call is calls["rnn"][1]
    torch.testing.assert_close(gradients(loss, call, targets=T)[0].norms, look(model, x, y)[0].norms)


def test_rows_of_different_lengths_are_a_sequence_that_no_call_goes_on_with() -> None:
    """Step T + 1 of one row would be step 5 of another."""
    model, (x, _) = Model("gru", D, H), batch()
    with record(model) as calls:
        _, state = model.rnn(x, lengths=torch.full((B,), 4))
        model.rnn(x[:3], state)
        model.rnn(x[:2], state, lengths=torch.full((B,), 1))
    assert [call.steps for call in calls["rnn"]] == [T, 3, 2]


def test_a_loss_that_does_not_read_the_network() -> None:
    model, (x, _) = Model("gru", D, H), batch()
    with record(model) as calls:
        model.rnn(x)
        loss = model.out.weight.sum()
    with pytest.raises(ValueError, match="the loss does not depend on this call"):
        gradients(loss, calls["rnn"][0])


def test_a_model_without_recurrence() -> None:
    with pytest.raises(ValueError, match=r"Linear holds no unroll\.recurrence\.Recurrent"), record(nn.Linear(2, 2)):
        pass


def test_recording_leaves_the_network_as_it_was() -> None:
    model, (x, y) = Model("lstm", D, H, learn_initial=True), batch()
    before = {name: p.clone() for name, p in model.named_parameters()}
    look(model, x, y)
    assert model.rnn.observer is None and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(isinstance(p, nn.Parameter) for p in model.rnn.cells[0]._parameters.values())


def test_sampled_errors_are_spread_and_hold_the_last() -> None:
    model, (x, y) = Model("gru", D, H), batch(40, 6)
    [seen] = look(model, x, y, rows=3, targets=4)
    assert sorted(set(seen.rows.tolist())) == [1, 3, 5] and sorted(set(seen.at.tolist())) == [10, 20, 30, 40]


def test_the_matrix_is_what_it_says() -> None:
    model, (x, y) = Model("gru", D, H), batch()
    [seen] = look(model, x, y)
    times, matrix = seen.matrix("hidden")
    assert times.tolist() == list(range(1, T + 1)) and matrix.shape == (T, T + 1)
    assert bool(matrix[2, 4:].isnan().all()) and not bool(matrix[2, :4].isnan().any())
    torch.testing.assert_close(matrix[6, 2], seen.norms["hidden"][2, seen.at == 7].mean())


def test_an_open_forget_gate_reaches_further() -> None:
    reach = []
    for bias in (0, 3):
        model, (x, y) = Model("lstm", D, 16, init=f"forget:{bias}"), batch(60)
        reach.append(look(model, x, y, shares=False)[0].longest()[1].reach())
    assert reach[0][0] < 15 and reach[1] == (60.0, False)


def test_memory_grows_linearly_with_the_steps() -> None:
    def kept(steps: int) -> int:
        model, (x, y) = Model("lstm", D, H), batch(steps)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.untyped_storage().nbytes()) or t, lambda t: t
        ):
            look(model, x, y, rows=2, targets=3)
        return sum(sizes)

    assert kept(160) / kept(80) < 2.1


def test_a_probe_costs_no_more_than_five_training_steps() -> None:
    """100 steps, 32 rows, 128 units: operations in products, which are the same on every machine; the network's own
    loop step by step, as a probe runs it; everything of a probe included. Seconds: `invoke bench --only probe`.
    """
    from unroll.recurrence.lyapunov import growth

    torch.manual_seed(0)
    model = nn.Module()
    model.rnn, model.out = Recurrent("lstm", 128, 128, backend="eager"), nn.Linear(128, 50)
    x, y = torch.randn(100, 32, 128), torch.randint(50, (3200,))

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model.out(model.rnn(x)[0]).flatten(0, 1), y)

    with FlopCounterMode(display=False) as training:
        loss().backward()
    with FlopCounterMode(display=False) as probe:
        with record(model) as calls:
            value = loss()
        [cell] = gradients(value, longest(calls["rnn"]))
        assert math.isfinite(growth(cell).factor)
    assert training.get_total_flops() > 3 * 100 * 32 * 2 * 128 * 4 * 128
    assert probe.get_total_flops() < 5 * training.get_total_flops()


def test_what_is_run_again_does_not_reach_what_came_before_it() -> None:
    """Inputs and the given state are constants there: the model's own graph may be gone by then."""
    before, network = nn.Linear(3, 4), Recurrent("gru", 4, 5)
    x, given = before(torch.randn(6, 2, 3)), torch.randn(1, 2, 5, requires_grad=True)
    with record(network) as calls:
        network(x, (given,))
    [call] = calls[""]
    output, _, _ = call.again(torch.tensor([1, 0, 1]))
    output.sum().backward()
    assert output.shape == (6, 3, 5)
    assert before.weight.grad is None
    assert given.grad is None
    assert network.cells[0].weight_ih.grad is not None
