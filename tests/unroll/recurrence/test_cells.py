"""Each cell agrees with its docstring: equations, number of parameters, options."""

import inspect
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unroll.recurrence import CELLS, Cell, Recurrent, reference, reference_gated
from unroll.recurrence.cells import CoRNNCell, ElmanCell, GRUCell, LayerNormLSTMCell, LSTMCell, SLSTMCell
from unroll.recurrence.registry import BUILTIN, make_cell

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "lstm": [
        {"peephole": True},
        {"coupled": True},
        {"projection": 3},
        {"peephole": True, "coupled": True, "projection": 2},
    ],
    "ligru": [{"normalised": False}],
    "slstm": [{"heads": 2}],
    "gru": [{"reset_gate": "before"}],
}
COUNTED = [(name, options) for name in CELLS for options in [{}, *OPTIONS.get(name, [])] if not name.startswith("conv")]


@pytest.mark.parametrize(("name", "options"), COUNTED, ids=str)
def test_the_docstring_counts_the_parameters(name: str, options: dict[str, Any]) -> None:
    formula = re.search(r"Parameters: (.*)", inspect.getdoc(CELLS[name]) or "")
    assert formula, f"{name} does not say how many parameters it has"
    defaults = {k: p.default for k, p in inspect.signature(CELLS[name]).parameters.items() if p.kind is p.KEYWORD_ONLY}
    for inputs, hidden in ((3, 4), (6, 6), (1, 8)):
        names = defaults | options | {"D": inputs, "H": hidden}
        names |= {"G": 3 if names.get("coupled") else 4, "R": names.get("projection") or hidden}
        cell = make_cell(name, inputs, hidden, **options)
        assert sum(p.numel() for p in cell.parameters()) == eval(formula[1], {}, names)


@pytest.mark.parametrize("name", CELLS)
def test_reset_parameters_leaves_nothing_as_it_was(name: str) -> None:
    for options in [{}, *OPTIONS.get(name, [])]:
        cell = make_cell(name, 4, 4, **options)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.fill_(torch.nan)
        cell.reset_parameters()
        assert [key for key, parameter in cell.named_parameters() if not parameter.isfinite().all()] == []


@pytest.mark.parametrize("name", CELLS)
def test_the_docstring_has_equations_paper_and_advice(name: str) -> None:
    text = inspect.getdoc(CELLS[name]) or ""
    assert "_t = " in text
    assert re.search(r"\b(19|20)\d\d\b", text), "no paper with its year"
    assert "When to use it: " in text


@pytest.mark.parametrize("name", CELLS)
def test_the_printed_form_tells_options_apart(name: str) -> None:
    forms = {repr(make_cell(name, 4, 4, **options)) for options in [{}, *OPTIONS.get(name, [])]}
    assert len(forms) == 1 + len(OPTIONS.get(name, []))


def arrays(cell: Cell) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}


def differentiated(
    cell: Cell, x: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Outputs, the weights of the loss, dE/dx and dE/d(each parameter), by Recurrent and autograd."""
    network = Recurrent(lambda *_: cell, x.shape[2], cell.hidden_size)
    x = x.clone().requires_grad_()
    output, _ = network(x, tuple(tensor.unsqueeze(0) for tensor in state))
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    assert x.grad is not None
    return output.detach(), weights, x.grad, {name: p.grad for name, p in cell.named_parameters() if p.grad is not None}


sizes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))


@pytest.mark.parametrize("f", ["tanh", "relu", "sigmoid", "identity"])
@settings(max_examples=10)
@given(sizes=sizes)
def test_elman_is_the_reference(f: str, sizes: tuple[int, ...]) -> None:
    steps, batch, inputs, hidden, seed = sizes
    torch.manual_seed(seed)
    cell = ElmanCell(inputs, hidden, f=f, bias=False).double()
    x, before = torch.randn(steps, batch, inputs).double(), torch.randn(batch, hidden).double()
    output, weights, _, gradients = differentiated(cell, x, (before,))
    # E = 1/2 |O - y|^2 with O = S and y = S - weights has dE/dS = weights.
    weight = arrays(cell)
    network = reference.Network(weight["weight_ih"], weight["weight_hh"], np.eye(hidden), f, "identity")
    states, _ = network.forward(x.numpy(), before.numpy())
    np.testing.assert_allclose(output, states[-steps:], atol=1e-10)
    run = reference.BPTT(network, x.numpy(), (output - weights).numpy(), before.numpy(), "squared_error")
    wanted = run.gradients()
    np.testing.assert_allclose(gradients["weight_hh"], wanted.W, atol=1e-9, rtol=1e-9)
    np.testing.assert_allclose(gradients["weight_ih"], wanted.U, atol=1e-9, rtol=1e-9)


@settings(max_examples=10)
@given(sizes=sizes)
def test_lstm_is_the_reference(sizes: tuple[int, ...]) -> None:
    steps, batch, inputs, hidden, seed = sizes
    torch.manual_seed(seed)
    cell = LSTMCell(inputs, hidden).double()
    x, state = torch.randn(steps, batch, inputs).double(), torch.randn(2, batch, hidden).double()
    output, weights, to_x, gradients = differentiated(cell, x, (state[0], state[1]))
    oracle = reference_gated.LSTM(**arrays(cell))
    run = oracle.forward(x.numpy(), *state.numpy())
    check_against(oracle.backward(run, weights.numpy()), run.h, output, to_x, gradients)


@pytest.mark.parametrize("reset_gate", ["after", "before"])
@settings(max_examples=10)
@given(sizes=sizes)
def test_gru_is_the_reference(reset_gate: str, sizes: tuple[int, ...]) -> None:
    steps, batch, inputs, hidden, seed = sizes
    torch.manual_seed(seed)
    cell = GRUCell(inputs, hidden, reset_gate=reset_gate).double()
    x, before = torch.randn(steps, batch, inputs).double(), torch.randn(batch, hidden).double()
    output, weights, to_x, gradients = differentiated(cell, x, (before,))
    oracle = reference_gated.GRU(**arrays(cell), reset=reset_gate)
    run = oracle.forward(x.numpy(), before.numpy())
    check_against(oracle.backward(run, weights.numpy()), run.h, output, to_x, gradients)


def check_against(wanted: Any, hidden: Any, output: Tensor, to_x: Tensor, gradients: dict[str, Tensor]) -> None:
    np.testing.assert_allclose(output, hidden, atol=1e-10)
    np.testing.assert_allclose(to_x, wanted.x, atol=1e-10)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, getattr(wanted.weights, name), atol=1e-9, rtol=1e-9, err_msg=name)


def test_slstm_is_its_equations_without_the_stabiliser() -> None:
    torch.manual_seed(1)
    for forget_gate in ("sigmoid", "exponential"):
        cell = SLSTMCell(3, 4, forget_gate=forget_gate).double()
        x = torch.randn(7, 2, 3).double()
        output, _ = Recurrent(lambda *_, cell=cell: cell, 3, 4)(x)
        h = c = n = torch.zeros(2, 4).double()
        for t, u in enumerate(x @ cell.weight_ih.T + cell.bias):
            write, forget, candidate, out = (u + h @ cell.weight_hh.T).chunk(4, -1)
            keep = forget.sigmoid() if forget_gate == "sigmoid" else forget.exp()
            c, n = keep * c + write.exp() * candidate.tanh(), keep * n + write.exp()
            h = out.sigmoid() * c / n
            torch.testing.assert_close(output[t], h, atol=1e-10, rtol=1e-10)


def test_slstm_stays_finite_where_the_plain_exponentials_overflow() -> None:
    cell = SLSTMCell(1, 2, forget_gate="exponential")
    with torch.no_grad():
        cell.bias.copy_(torch.tensor([900.0, -900.0, 800.0, 0.5, 1.0, 1.0, 0.0, 0.0]))
    x = torch.zeros(50, 1, 1, requires_grad=True)
    output, _ = Recurrent(lambda *_: cell, 1, 2)(x)
    output.sum().backward()
    assert output.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


def test_slstm_heads_do_not_see_each_other() -> None:
    network = Recurrent("slstm", 2, 6, heads=3)
    state = tuple(tensor + 0.5 for tensor in network.initial(1))
    jacobian = torch.autograd.functional.jacobian(
        lambda h: network.step(torch.ones(1, 2), (h, *state[1:]))[0], state[0]
    )
    seen = jacobian.reshape(6, 6) != 0
    assert torch.equal(seen, torch.block_diag(*[torch.ones(2, 2)] * 3).bool())


def test_layernorm_lstm_ignores_the_scale_of_its_input() -> None:
    cell = LayerNormLSTMCell(5, 8).double()
    x = torch.randn(4, 3, 5).double()
    network = Recurrent(lambda *_: cell, 5, 8)
    torch.testing.assert_close(network(100 * x)[0], network(1000 * x)[0], atol=1e-6, rtol=1e-6)


def test_cornn_without_input_is_a_damped_oscillation() -> None:
    cell = CoRNNCell(1, 1, dt=0.01, frequency=4.0, damping=0.2)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    network = Recurrent(lambda *_: cell, 1, 1)
    output, _ = network(torch.zeros(2000, 1, 1), (torch.ones(1, 1, 1), torch.zeros(1, 1, 1)))
    time = 0.01 * torch.arange(1, 2001)
    swing = (4.0 - 0.1**2) ** 0.5
    exact = torch.exp(-0.1 * time) * (torch.cos(swing * time) + 0.1 / swing * torch.sin(swing * time))
    assert (output.flatten() - exact).abs().max() < 0.02


def test_a_cell_alone_is_one_step_from_the_input() -> None:
    cell = GRUCell(3, 4)
    x, hidden = torch.randn(2, 3), torch.randn(2, 4)
    wanted = nn.GRUCell(3, 4)
    wanted.load_state_dict(cell.state_dict())
    torch.testing.assert_close(cell(x, (hidden,))[0], wanted(x, hidden))


def test_a_base_cell_says_what_is_missing() -> None:
    cell = Cell(2, 3)
    with pytest.raises(NotImplementedError, match="Cell must define project"):
        cell.project(torch.zeros(1, 1, 2))
    with pytest.raises(NotImplementedError, match="Cell must define step"):
        cell.step(torch.zeros(1, 2), ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ElmanCell(2, 3, f="tahn"), "f must be one of tanh, relu, sigmoid, identity or a function, got 'tahn'"),
        (lambda: ElmanCell(0, 3), "input_size must be a positive whole number, got 0"),
        (lambda: LSTMCell(2, 3.0), "hidden_size must be a positive whole number, got 3.0"),
        (lambda: LSTMCell(2, 3, projection=-1), "projection must be a positive whole number, got -1"),
        (lambda: GRUCell(2, 3, reset_gate="never"), "reset_gate must be 'after' or 'before'"),
        (lambda: SLSTMCell(2, 5, heads=2), "heads must divide hidden_size = 5, got 2"),
        (lambda: SLSTMCell(2, 4, forget_gate="relu"), "forget_gate must be one of sigmoid, exponential, got 'relu'"),
        (lambda: CoRNNCell(2, 4, dt=0), "dt must be positive, got 0"),
        (lambda: Recurrent("lsmt", 2, 3), "cell 'lsmt' is unknown; nearest: lstm"),
        (lambda: Recurrent("?", 2, 3), "cell '\\?' is unknown; known: elman, lstm, gru"),
    ],
)
def test_bad_options_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_factory_must_make_a_cell() -> None:
    with pytest.raises(TypeError, match="cell must be a name or make a Cell, got Linear"):
        Recurrent(nn.Linear, 2, 3)  # type: ignore[arg-type]


def test_cells_of_other_packages_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        EntryPoint("theirs", "unroll.recurrence.cells:GRUCell", "unroll.cells"),
        EntryPoint("broken", "no.such.module:Cell", "unroll.cells"),
        EntryPoint("lstm", "unroll.recurrence.cells:GRUCell", "unroll.cells"),
    ]
    monkeypatch.setattr("unroll.recurrence.registry.entry_points", lambda group: declared)
    assert isinstance(CELLS, Mapping)
    assert {"theirs", "broken"} < set(CELLS)
    assert len(CELLS) == len(list(CELLS))
    assert isinstance(make_cell("theirs", 2, 3), GRUCell)
    assert isinstance(make_cell("lstm", 2, 3), LSTMCell)
    with pytest.raises(ModuleNotFoundError):
        make_cell("broken", 2, 3)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_summary_of_a_cell_is_the_first_line_of_its_docstring(name: str) -> None:
    assert CELLS.summary(name) == CELLS[name].__doc__.strip().splitlines()[0] != ""
