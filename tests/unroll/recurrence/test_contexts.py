"""The same numbers in every context in which a program may call: one table of contexts, two oracles.

The drop-ins are compared with torch.nn, `Recurrent` with its own loop over `step`, for each cell. A context is a
function that makes a call and returns all its values and gradients.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import unroll
from tests.unroll.recurrence.contexts import CONTEXTS, COSTLY, LARGE, SMALL, Names, written_into
from unroll.recurrence import CELLS, Recurrent
from unroll.recurrence.kernels.cpu import autograd, native


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def size(name: str) -> tuple[int, int, int, int]:
    return SMALL if name in COSTLY else LARGE


def quietly(name: str, module: nn.Module, x: Tensor) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracers and compilers, which say the same of torch's own modules
        return CONTEXTS[name](module, x)


def agree(name: str, theirs: nn.Module, ours: nn.Module, x: Tensor, tolerance: float) -> None:
    """What comes out of a context with one and with the other, to a share of the oracle's largest number."""
    wanted, got = quietly(name, theirs, x), quietly(name, ours, x)
    for number, (a, b) in enumerate(zip(wanted, got, strict=True)):
        slack = tolerance * max(1.0, float(a.detach().abs().max()))
        torch.testing.assert_close(b, a.to(b.dtype), atol=slack, rtol=tolerance, msg=lambda m, n=number: f"[{n}] {m}")


def modules(kind: str, name: str, dtype: torch.dtype) -> tuple[nn.RNNBase, Any, Tensor]:
    """torch's, ours with the same weights and never called yet, and an input."""
    steps, batch, features, hidden = size(name)
    torch.manual_seed(3)
    theirs: nn.RNNBase = getattr(nn, kind)(features, hidden, dtype=dtype)
    ours = getattr(unroll, kind)(features, hidden, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, torch.randn(steps, batch, features, dtype=dtype)


TORCH_CANNOT: dict[tuple[str, str], type[Exception]] = {
    ("LSTM", "hessian"): NotImplementedError,
    ("LSTM", "forward_mode"): NotImplementedError,
    ("LSTM", "written_into"): RuntimeError,
    ("GRU", "gradients_of_each_row"): RuntimeError,
    ("RNN", "gradients_of_each_row"): RuntimeError,
    ("LSTMCell", "a_state_under_a_transform"): RuntimeError,
    ("RNNCell", "written_into"): RuntimeError,
    **{(kind, "gradients_of_each_row"): RuntimeError for kind in ("LSTMCell", "GRUCell", "RNNCell")},
    **{(kind, "a_state_under_a_transform"): RuntimeError for kind in ("LSTM", "GRU", "RNN")},
}
"""what torch's own modules refuse in float32: ours refuse it alike, and a call after that is as good as ever"""


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_drop_ins_are_torchs(kind: str, name: str, threads: int) -> None:
    theirs, ours, x = modules(kind, name, torch.float32)
    refused = TORCH_CANNOT.get((kind, name))
    for module in (theirs, ours) if refused and name != "written_into" else ():
        with pytest.raises(refused):
            quietly(name, module, x)
    agree("training" if refused else name, theirs, ours, x, 1e-5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for name in CONTEXTS for kind in ("LSTM", "GRU", "RNN") if (kind, name) not in TORCH_CANNOT],
)
def test_drop_ins_are_torchs_in_a_single_step(kind: str, name: str) -> None:
    theirs, ours, x = modules(kind, name, torch.float32)
    agree(name, theirs, ours, x[:1], 1e-5)


class Stepped(nn.Module):
    """A cell of torch.nn's, or a network's `step`, called for one time step after another, as a decoder does."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, given: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs = []
        for x_t in x:
            if isinstance(self.inner, Recurrent):
                output, given = self.inner.step(x_t, given)
            else:
                after = self.inner(x_t, given if given is None or isinstance(self.inner, nn.LSTMCell) else given[0])
                given = tuple(after) if isinstance(self.inner, nn.LSTMCell) else (after,)
                output = given[0]
            outputs.append(output)
        return torch.stack(outputs), tuple(given or ())


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells_of_torch_nn_are_torchs(kind: str, name: str, threads: int) -> None:
    steps, batch, features, hidden = size(name)
    torch.manual_seed(3)
    theirs, ours = getattr(nn, kind)(features, hidden), getattr(unroll, kind)(features, hidden)
    ours.load_state_dict(theirs.state_dict())
    x, refused = torch.randn(min(steps, 4), batch, features), TORCH_CANNOT.get((kind, name))
    for module in (theirs, ours) if refused else ():
        with pytest.raises(refused):
            quietly(name, Stepped(module), x)
    agree("training" if refused else name, Stepped(theirs), Stepped(ours), x, 1e-5)


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("cell", ["lstm", "elman", "slstm"])
def test_steps_are_their_loop(cell: str, name: str) -> None:
    steps, batch, features, hidden = size(name)
    torch.manual_seed(3)
    ours = Recurrent(cell, features, hidden, 2)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    agree(name, Stepped(theirs), Stepped(ours), torch.randn(min(steps, 4), batch, features), 1e-3)


def test_an_lstms_output_may_be_written_into_where_torchs_may_not(threads: int) -> None:
    """torch's LSTM can be differentiated after that in float64 only."""
    theirs, ours, x = modules("LSTM", "written_into", torch.float32)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        written_into(theirs, x)
    for a, b in zip(written_into(theirs.double(), x.double()), written_into(ours, x), strict=True):
        torch.testing.assert_close(b.double(), a, atol=1e-5 * max(1.0, float(a.detach().abs().max())), rtol=1e-5)


OTHER_DTYPES = [
    "training",
    "inference_mode_then_training",
    "a_device_of_nowhere_around",
    "another_default_dtype",
    "traced",
]


@pytest.mark.parametrize("name", OTHER_DTYPES)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_drop_ins_of_other_dtypes_are_torchs_to_the_last_bit(kind: str, name: str, dtype: torch.dtype) -> None:
    theirs, ours, x = modules(kind, name, dtype)
    agree(name, theirs, ours, x, 0.0)


TYPICAL = ["gru", "layernorm-lstm", "mingru"]
"""one by torch's, one by generated kernels alone, one parallel in time: the compilers treat the others as these"""
CELLS_IN_CONTEXTS = [
    (cell, name)
    for name in CONTEXTS
    for cell in CELLS
    if not cell.startswith("conv") and (name not in ("compiled", "exported") or cell in TYPICAL)
]


@pytest.mark.parametrize(("cell", "name"), CELLS_IN_CONTEXTS)
def test_cells_are_their_loop(cell: str, name: str) -> None:
    steps, batch, features, hidden = size(name)
    torch.manual_seed(3)
    ours = Recurrent(cell, features, hidden)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    agree(name, theirs, ours, torch.randn(steps, batch, features), 1e-3)


@pytest.mark.parametrize("name", ["training", "inference_mode_then_training", "a_graph_used_twice", "written_into"])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.startswith("conv")])
def test_cells_are_their_loop_on_two_threads(cell: str, name: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        test_cells_are_their_loop(cell, name)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", OTHER_DTYPES)
@pytest.mark.parametrize("cell", ["lstm", "elman", *TYPICAL])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.bfloat16, 0.1)], ids=str)
def test_cells_of_other_dtypes_are_their_loop(cell: str, name: str, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(3)
    ours = Recurrent(cell, 8, 16).to(dtype)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    agree(name, theirs, ours, torch.randn(6, 5, 8, dtype=dtype), tolerance)


@pytest.mark.parametrize("name", [name for name in CONTEXTS if name not in COSTLY])
@pytest.mark.parametrize("cell", ["convlstm", "convgru"])
def test_cells_over_maps_are_their_loop(cell: str, name: str) -> None:
    torch.manual_seed(3)
    ours = Recurrent(cell, 2, 4)
    theirs = copy.deepcopy(ours)
    theirs.backend = "eager"
    agree(name, theirs, ours, torch.randn(4, 3, 2, 5, 5), 1e-3)


@pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
@pytest.mark.parametrize("make", [unroll.LSTM, unroll.GRU, lambda d, h: Recurrent("slstm", d, h)])
def test_the_compiler_keeps_the_kernels_and_a_plain_call_after_a_traced_one_has_them(
    make: Callable[[int, int], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    apply = autograd.Kernel.apply
    monkeypatch.setattr(autograd.Kernel, "apply", lambda *args: calls.append(1) or apply(*args))
    module, x = make(3, 4), torch.randn(5, 2, 3)
    for run in (torch.compile(module, backend="eager"), module):
        run(x)
        run(x)
    assert len(calls) == 4


@pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
def test_forcing_the_kernels_names_what_intercepts() -> None:
    network, x = Recurrent("gru", 3, 4, backend="fused"), torch.randn(5, 2, 3)
    network(x)
    told = "backend='fused' cannot run GRUCell here: the fused kernels do not work under "
    with Names(), pytest.raises(ValueError, match=told + "a torch function or dispatch mode"):
        network(x)
    with forward_ad.dual_level(), pytest.raises(ValueError, match=told + "forward-mode differentiation"):
        network(x)
    with pytest.raises(ValueError, match=told + r"a transform of torch\.func"):
        torch.func.grad(lambda x: network(x)[0].sum())(x)
