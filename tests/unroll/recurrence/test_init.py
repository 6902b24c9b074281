"""Initialisations by name do what they promise, for each cell."""

from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.recurrence import CELLS, Recurrent
from unroll.recurrence.cell import Cell
from unroll.recurrence.init import INITIALISERS, initialise
from unroll.recurrence.registry import make_cell

REMEMBERING = ["lstm", "gru", "layernorm-lstm", "layernorm-gru", "mgu", "ligru", "slstm", "indrnn", "minlstm", "mingru"]
SQUARE = ["elman", "lstm", "gru", "layernorm-lstm", "layernorm-gru", "mgu", "ligru", "slstm"]


@pytest.mark.parametrize("name", SQUARE)
def test_orthogonal_gate_by_gate(name: str) -> None:
    cell = make_cell(name, 3, 6)
    initialise(cell, "orthogonal")
    for block in cell.weight_hh.split(6):
        torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)


def test_a_gain_after_the_colon() -> None:
    cell = make_cell("elman", 3, 6)
    initialise(cell, "orthogonal:0.5")
    torch.testing.assert_close(torch.linalg.svdvals(cell.weight_hh), torch.full((6,), 0.5))


def test_irnn_copies_its_state() -> None:
    network = Recurrent("elman", 3, 6, f="relu", init="identity")
    before = torch.rand(1, 2, 6)
    assert torch.equal(network(torch.zeros(50, 2, 3), (before,))[1][0], before)


def kept(cell: Cell) -> Tensor:
    """d h_1 / d h_0 (or c) of each unit on the path that bypasses the weights: how much of its memory a unit keeps."""
    for name in cell.recurrent_weights:
        weight = getattr(cell, name, None)
        if weight is not None and weight.dim() > 1:
            torch.nn.init.zeros_(weight)
    names = list(cell.state_shapes)
    memory = names.index("cell") if "cell" in names else 0
    state = list(cell.initial(1))
    if "stabiliser" in names:
        state[names.index("stabiliser")] *= 0
    state[memory] = torch.full_like(state[memory], 0.5).requires_grad_()
    _, after = cell(torch.zeros(1, cell.input_size), tuple(state))
    change = torch.autograd.grad(after[memory].sum(), state[memory])[0][0]
    return change * torch.exp(after[-1][0]) if "stabiliser" in names else change


@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm-lstm", "layernorm-gru", "mgu", "ligru", "slstm", "indrnn"])
@pytest.mark.parametrize("bias", [0.5, 3.0])
def test_forget_bias_keeps_that_share(name: str, bias: float) -> None:
    torch.manual_seed(0)
    cell = make_cell(name, 3, 6)
    for weight in ("weight_ih", "bias", "bias_ih", "bias_hh"):
        if getattr(cell, weight, None) is not None:
            torch.nn.init.constant_(getattr(cell, weight), 0.3 if name == "indrnn" else 0.0)
    initialise(cell, f"forget:{bias}")
    share = kept(cell)
    torch.testing.assert_close(share, torch.full_like(share, torch.tensor(bias).sigmoid().item()))


@pytest.mark.parametrize("name", REMEMBERING)
def test_every_cell_with_a_memory_takes_chrono(name: str) -> None:
    torch.manual_seed(0)
    cell = make_cell(name, 3, 500)
    before = [p.detach().clone() for p in cell.parameters()]
    initialise(cell, "chrono:100")
    assert any(not torch.equal(a, b) for a, b in zip(before, cell.parameters(), strict=True))


def test_chrono_spans_the_time_scales() -> None:
    torch.manual_seed(0)
    cell = make_cell("lstm", 3, 5000)
    initialise(cell, "chrono:50")
    write, forget, *_ = (cell.bias_ih + cell.bias_hh).chunk(4)
    times = 1 / (1 - forget.sigmoid())
    assert times.min() >= 1.9
    assert times.max() <= 50.1
    assert abs(times.mean() - 26) < 1
    torch.testing.assert_close(write, -forget)


def test_several_in_order_and_functions_too() -> None:
    seen: list[Cell] = []
    network = Recurrent("lstm", 3, 4, 2, bidirectional=True, init=("orthogonal", "forget", seen.append))
    assert seen == list(network.cells)
    for cell in network.cells:
        assert torch.equal((cell.bias_ih + cell.bias_hh)[4:8], torch.ones(4))


def test_seeds_decide() -> None:
    def weights(name: str) -> list[Tensor]:
        torch.manual_seed(3)
        return list(Recurrent("lstm", 3, 4, init=name).parameters())

    for name in INITIALISERS:
        assert all(torch.equal(a, b) for a, b in zip(weights(name), weights(name), strict=True))


@pytest.mark.parametrize(
    ("cell", "options", "init", "message"),
    [
        ("lstm", {}, "orthogonl", "init must be one of orthogonal, identity, forget, chrono or name:number"),
        ("lstm", {}, "chrono:long", "init 'chrono:long': 'long' is not a number"),
        ("lstm", {}, "chrono:2", "more than 2 steps, got 2"),
        ("elman", {}, "forget", "ElmanCell has no gate that keeps its memory"),
        ("indrnn", {}, "orthogonal", "IndRNNCell has no recurrent weight matrix"),
        ("lstm", {"bias": False}, "forget", "needs a cell with bias=True"),
    ],
)
def test_what_cannot_be_initialised_is_named(cell: str, options: dict[str, Any], init: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        initialise(make_cell(cell, 3, 4, **options), init)


@pytest.mark.parametrize("name", CELLS)
def test_fresh_weights_are_finite_and_not_all_alike(name: str) -> None:
    cell = make_cell(name, 4, 4)
    assert all(p.isfinite().all() for p in cell.parameters())
    assert any(p.unique().numel() > 1 for p in cell.parameters())


def bounds(cell: Cell, name: str) -> tuple[float, float]:
    """Between which numbers a fresh parameter lies: +-1/sqrt(H), but for what is documented otherwise."""
    wide = cell.hidden_size**-0.5
    if name.startswith("gain"):
        return 1.0, 1.0
    if name.startswith("bias") and any(other.startswith("gain") for other, _ in cell.named_parameters()):
        return 0.0, 0.0  # a layer norm begins as the bare normalisation
    kind = type(cell).__name__
    if kind.startswith("Conv"):
        return -wide / 15**0.5, wide / 15**0.5  # of all units that a unit reads
    if (kind, name) == ("IndRNNCell", "weight_hh"):
        return 0.0, 1.0
    if (kind, name) == ("RGLRUCell", "decay"):
        return 0.9, 0.999  # of sigmoid(decay)^8, what a unit keeps
    if (kind, name) == ("RGLRUCell", "weight_gates"):
        return -2 * wide, 2 * wide  # four blocks
    return -wide, wide


@pytest.mark.parametrize("name", CELLS)
def test_fresh_weights_fill_the_range_that_is_documented(name: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"kernel_size": (5, 3)} if name.startswith("conv") else {}
    cell = make_cell(name, 7, 100, **options | ({"blocks": 4} if name == "rglru" else {}))
    for name_of, parameter in cell.named_parameters():
        low, high = bounds(cell, name_of)
        values = parameter.detach().sigmoid() ** 8 if name_of == "decay" else parameter.detach()
        assert low - 1e-6 <= float(values.min()) <= low + 0.1 * (high - low) + 1e-6, name_of
        assert high + 1e-6 >= float(values.max()) >= high - 0.1 * (high - low) - 1e-6, name_of


KEEP, WRITE, FILLED = 0.7, -0.3, 9.0
GATES: list[tuple[str, dict[str, Any], int, dict[int, float], dict[int, float]]] = [
    ("lstm", {}, 4, {1: KEEP}, {0: WRITE}),
    ("lstm", {"peephole": True, "projection": 2}, 4, {1: KEEP}, {0: WRITE}),
    ("lstm", {"coupled": True}, 3, {0: KEEP}, {}),
    ("layernorm-lstm", {}, 4, {1: KEEP}, {0: WRITE}),
    ("slstm", {}, 4, {1: KEEP}, {0: WRITE}),
    ("slstm", {"forget_gate": "exponential"}, 4, {1: torch.tensor(KEEP).sigmoid().log().item()}, {0: WRITE}),
    ("gru", {}, 3, {1: KEEP}, {}),
    ("gru", {"reset_gate": "before"}, 3, {1: KEEP}, {}),
    ("layernorm-gru", {}, 3, {1: KEEP}, {}),
    ("mgu", {}, 2, {0: -KEEP}, {}),
    ("ligru", {}, 2, {0: KEEP}, {}),
    ("ligru", {"normalised": False}, 2, {0: KEEP}, {}),
    ("mingru", {}, 2, {0: -KEEP}, {}),
    ("minlstm", {}, 3, {0: KEEP, 1: -KEEP}, {}),
    ("convlstm", {}, 4, {1: KEEP}, {0: WRITE}),
    ("convgru", {}, 3, {1: KEEP}, {}),
]


@pytest.mark.parametrize(("name", "options", "gates", "kept", "written"), GATES)
@pytest.mark.parametrize("with_write", [False, True])
def test_a_memory_is_set_in_the_biases_of_its_gates_and_in_no_other(
    name: str, options: dict[str, Any], gates: int, kept: dict[int, float], written: dict[int, float], with_write: bool
) -> None:
    cell = make_cell(name, 3, 6, **options)
    biases = [p for n, p in cell.named_parameters() if n in ("bias", "bias_ih", "bias_hh")]
    for bias in biases:
        torch.nn.init.constant_(bias, FILLED)
    cell.set_memory(torch.full((6,), KEEP), torch.full((6,), WRITE) if with_write else None)
    wanted = dict.fromkeys(range(gates), FILLED * len(biases)) | kept | (written if with_write else {})
    total = torch.stack([bias.detach() for bias in biases]).sum(0).chunk(gates)
    for gate, value in wanted.items():
        torch.testing.assert_close(total[gate], torch.full((6,), value), msg=f"gate {gate}")


class WithParts(Cell):
    """Its own weights, and modules that begin as they are made."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = torch.nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = torch.nn.Parameter(torch.empty(hidden_size))
        self.norm, self.bias_of = torch.nn.LayerNorm(hidden_size), torch.nn.Linear(input_size, hidden_size)
        torch.nn.init.constant_(self.bias_of.weight, 3.0)
        self.reset_parameters()


def test_the_parts_of_a_cell_begin_as_they_are_made() -> None:
    cell = WithParts(3, 6)
    initialise(cell, "identity:0.5")
    assert torch.equal(cell.weight_hh, 0.5 * torch.eye(6)) and not cell.bias.any()
    assert torch.equal(cell.norm.weight, torch.ones(6))
    assert torch.equal(cell.bias_of.weight, torch.full((6, 3), 3.0))
