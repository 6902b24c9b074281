"""One step of every gated cell against its docstring's equations, written out gate by gate with plain tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unroll.recurrence.registry import make_cell

Weights = dict[str, Tensor]
State = list[Tensor]
D, H = 3, 4


def norm(x: Tensor) -> Tensor:
    """Minus the mean, over the standard deviation."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def gate(w: Weights, index: int, x: Tensor, h: Tensor) -> Tensor:
    """U x + W h + all biases, for one gate."""
    rows = slice(index * H, (index + 1) * H)
    total = x @ w["weight_ih"][rows].T + h @ w["weight_hh"][rows].T
    return total + sum(w[name][rows] for name in ("bias", "bias_ih", "bias_hh") if name in w)


def lstm(w: Weights, x: Tensor, state: State) -> State:
    h, c = state
    i, f, g, o = (gate(w, index, x, h) for index in range(4))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return [o.sigmoid() * c.tanh(), c]


def lstm_peephole(w: Weights, x: Tensor, state: State) -> State:
    h, before = state
    i, f, g, o = (gate(w, index, x, h) for index in range(4))
    p_i, p_f, p_o = w["peephole"]
    c = (f + p_f * before).sigmoid() * before + (i + p_i * before).sigmoid() * g.tanh()
    return [(o + p_o * c).sigmoid() * c.tanh(), c]


def lstm_all(w: Weights, x: Tensor, state: State) -> State:
    h, before = state
    f, g, o = (gate(w, index, x, h) for index in range(3))
    p_f, p_o = w["peephole"]
    keep = (f + p_f * before).sigmoid()
    c = keep * before + (1 - keep) * g.tanh()
    return [((o + p_o * c).sigmoid() * c.tanh()) @ w["weight_hr"].T, c]


def lstm_projected(w: Weights, x: Tensor, state: State) -> State:
    h, c = lstm(w, x, state)
    return [h @ w["weight_hr"].T, c]


def layernorm_lstm(w: Weights, x: Tensor, state: State) -> State:
    h, c = state
    total = norm(x @ w["weight_ih"].T) * w["gain_ih"] + norm(h @ w["weight_hh"].T) * w["gain_hh"] + w["bias"]
    i, f, g, o = (total[:, index * H : (index + 1) * H] for index in range(4))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return [o.sigmoid() * (norm(c) * w["gain_c"] + w["bias_c"]).tanh(), c]


def gru(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    r, z = gate(w, 0, x, h).sigmoid(), gate(w, 1, x, h).sigmoid()
    from_x = x @ w["weight_ih"][2 * H :].T + w["bias_ih"][2 * H :]
    n = (from_x + r * (h @ w["weight_hh"][2 * H :].T + w["bias_hh"][2 * H :])).tanh()
    return [(1 - z) * n + z * h]


def gru_without_biases(w: Weights, x: Tensor, state: State) -> State:
    return gru(w | {name: torch.zeros(3 * H, dtype=x.dtype) for name in ("bias_ih", "bias_hh")}, x, state)


def gru_before(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    r, z = gate(w, 0, x, h).sigmoid(), gate(w, 1, x, h).sigmoid()
    n = gate(w, 2, x, r * h).tanh()
    return [(1 - z) * n + z * h]


def layernorm_gru(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    gates, rest = slice(2 * H), slice(2 * H, 3 * H)

    def normal(side: str, inputs: Tensor, rows: slice) -> Tensor:
        return norm(inputs @ w[f"weight_{side}"][rows].T) * w[f"gain_{side}"][rows]

    r, z = (normal("ih", x, gates) + w["bias"][gates] + normal("hh", h, gates)).sigmoid().chunk(2, -1)
    n = (normal("ih", x, rest) + w["bias"][rest] + r * (normal("hh", h, rest) + w["bias_hn"])).tanh()
    return [(1 - z) * n + z * h]


def mgu(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    f = gate(w, 0, x, h).sigmoid()
    return [(1 - f) * h + f * gate(w, 1, x, f * h).tanh()]


def ligru(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    total = norm(x @ w["weight_ih"].T) * w["gain"] + w["bias"] + h @ w["weight_hh"].T
    z, n = total[:, :H].sigmoid(), total[:, H:].relu()
    return [z * h + (1 - z) * n]


def ligru_bare(w: Weights, x: Tensor, state: State) -> State:
    (h,) = state
    z, n = gate(w, 0, x, h).sigmoid(), gate(w, 1, x, h).relu()
    return [z * h + (1 - z) * n]


def slstm(w: Weights, x: Tensor, state: State, log_keep: Callable[[Tensor], Tensor] = F.logsigmoid) -> State:
    """Two heads of two units: W's rows of a unit read those of its head."""
    h, c, n, m = state
    recurrent = torch.stack(
        [(w["weight_hh"][row] * h[:, row % H // 2 * 2 :][:, :2]).sum(-1) for row in range(4 * H)], 1
    )
    i, f, g, o = (x @ w["weight_ih"].T + recurrent + w["bias"]).chunk(4, 1)
    largest = torch.maximum(log_keep(f) + m, i)
    keep, write = (log_keep(f) + m - largest).exp(), (i - largest).exp()
    c, n = keep * c + write * g.tanh(), keep * n + write
    return [o.sigmoid() * c / n, c, n, largest]


def slstm_exponential(w: Weights, x: Tensor, state: State) -> State:
    return slstm(w, x, state, lambda forget: forget)


def indrnn(w: Weights, x: Tensor, state: State) -> State:
    return [(x @ w["weight_ih"].T + w["weight_hh"] * state[0] + w["bias"]).relu()]


def cornn(w: Weights, x: Tensor, state: State) -> State:
    y, z = state
    inner = x @ w["weight_ih"].T + y @ w["weight_hh"][:, :H].T + z @ w["weight_hh"][:, H:].T + w["bias"]
    z = z + 0.1 * (inner.tanh() - 1.5 * y - 0.5 * z)
    return [y + 0.1 * z, z]


CASES: list[tuple[str, dict[str, Any], Callable[[Weights, Tensor, State], State]]] = [
    ("lstm", {}, lstm),
    ("lstm", {"peephole": True}, lstm_peephole),
    ("lstm", {"peephole": True, "coupled": True, "projection": 2}, lstm_all),
    ("lstm", {"bias": False}, lstm),
    ("lstm", {"projection": 2}, lstm_projected),
    ("layernorm-lstm", {}, layernorm_lstm),
    ("gru", {}, gru),
    ("gru", {"bias": False}, gru_without_biases),
    ("gru", {"reset_gate": "before"}, gru_before),
    ("gru", {"reset_gate": "before", "bias": False}, gru_before),
    ("layernorm-gru", {}, layernorm_gru),
    ("mgu", {}, mgu),
    ("ligru", {}, ligru),
    ("ligru", {"normalised": False}, ligru_bare),
    ("slstm", {"heads": 2}, slstm),
    ("slstm", {"heads": 2, "forget_gate": "exponential"}, slstm_exponential),
    ("indrnn", {}, indrnn),
    ("cornn", {"dt": 0.1, "frequency": 1.5, "damping": 0.5}, cornn),
]


@pytest.mark.parametrize(
    ("name", "options", "equations"), CASES, ids=[f"{case[2].__name__}-{len(case[1])}" for case in CASES]
)
def test_a_step_is_its_equations(name: str, options: dict[str, Any], equations: Any) -> None:
    torch.manual_seed(2)
    cell = make_cell(name, D, H, **options).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.uniform_(-1, 1)  # gains and biases too, which start at one and zero
    x = torch.randn(5, D, dtype=torch.float64)
    state = [torch.randn_like(tensor) for tensor in cell.initial(5)]
    state[2:] = [tensor.exp() for tensor in state[2:]]  # a normaliser is positive
    output, after = cell(x, tuple(state))
    expected = equations(dict(cell.named_parameters()), x, state)
    for got, wanted in zip((output, *after), (expected[0], *expected), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-12)
