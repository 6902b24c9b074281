"""The same numbers in every context in which a program may call: one table of contexts, two oracles.

The drop-ins are held to torch.nn, `Recurrent` with each cell to its own loop over `step`. A context is a function that
makes a call (and what belongs to it) and returns all that came out: values and gradients.
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
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import unroll
from unroll.recurrence import CELLS, Recurrent, state
from unroll.recurrence.kernels.cpu import cpu_kernel, native

LARGE = (12, 40, 8, 144)
"""T, B, D, H: every buffer of a call is so large that the workspace keeps it"""
SMALL = (4, 3, 2, 4)
COSTLY = ("gradients_of_each_row", "hessian", "compiled", "exported")
"""contexts that take long, or much memory: on SMALL, and for cells of each kind only"""
Context = Callable[[nn.Module, Tensor], list[Tensor]]
CONTEXTS: dict[str, Context] = {}


def context(function: Context) -> Context:
    CONTEXTS[function.__name__] = function
    return function


def results(module: nn.Module, x: Tensor, given: Any = None) -> list[Tensor]:
    output, after = module(x) if given is None else module(x, given)
    return [output, *state.tensors(after)]


def gradients(module: nn.Module, made: list[Tensor], x: Tensor) -> list[Tensor]:
    leaves = [leaf for leaf in (x, *module.parameters()) if leaf.requires_grad]
    for leaf in leaves:
        leaf.grad = None
    # backward, not autograd.grad: a checkpoint and a counter of operations cannot do with the latter.
    torch.stack([(tensor.double() * weights_like(tensor)).sum() for tensor in made]).sum().backward()
    return [*made, *(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)]


def weights_like(tensor: Tensor) -> Tensor:
    return torch.arange(1, tensor.numel() + 1, dtype=torch.float64, device="cpu").sin().view(tensor.shape)


def trained(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    return gradients(module, results(module, x), x)


@context
def training(module: nn.Module, x: Tensor) -> list[Tensor]:
    return trained(module, x)


@context
def inference_mode_then_training(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        made = results(module, x)
        made = results(module, x, _as_given(module, made[1:]))
        assert all(tensor.is_inference() for tensor in made)
    again = trained(module, x)
    assert not any(tensor.is_inference() for tensor in again)
    return [*(tensor.clone() for tensor in made), *again, *trained(module, x)]


@context
def training_then_inference_mode(module: nn.Module, x: Tensor) -> list[Tensor]:
    first = trained(module, x)
    with torch.inference_mode():
        made = results(module, x)
    return [*first, *made]


@context
def without_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return results(module, x)


@context
def frozen_weights(module: nn.Module, x: Tensor) -> list[Tensor]:
    return trained(module.requires_grad_(False), x)


@context
def only_weights(module: nn.Module, x: Tensor) -> list[Tensor]:
    return gradients(module, results(module, x), x)


@context
def strided_input(module: nn.Module, x: Tensor) -> list[Tensor]:
    apart = torch.stack([x, x + 1], -1)[..., 0]
    return trained(module, x.flip(0)) + gradients(module, results(module, apart), apart)


@context
def a_device_of_nowhere_around(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.device("meta"):
        return trained(module, x)


@context
def another_default_device(module: nn.Module, x: Tensor) -> list[Tensor]:
    torch.set_default_device("cuda:7")  # none is there, and nobody may ask for it
    try:
        return trained(module, x)
    finally:
        torch.set_default_device(None)


@context
def another_default_dtype(module: nn.Module, x: Tensor) -> list[Tensor]:
    torch.set_default_dtype(torch.float64)
    try:
        return trained(module, x)
    finally:
        torch.set_default_dtype(torch.float32)


@context
def a_parameter_on_meta(module: nn.Module, x: Tensor) -> list[Tensor]:
    made = results(copy.deepcopy(module).to("meta"), x.to("meta"))
    assert all(tensor.device.type == "meta" for tensor in made)
    return [torch.ones(tensor.shape) for tensor in made] + trained(module, x)


@context
def saved_tensors_elsewhere(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), torch.from_numpy):
        return trained(module, x)


@context
def checkpointed(module: nn.Module, x: Tensor) -> list[Tensor]:
    made = []
    for reentrant in (False, True):
        x = x.detach().clone().requires_grad_()
        made += gradients(module, list(checkpoint(lambda x: tuple(results(module, x)), x, use_reentrant=reentrant)), x)
    return made


@context
def anomalies_detected(module: nn.Module, x: Tensor) -> list[Tensor]:
    with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
        return trained(module, x)


@context
def a_graph_used_twice(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    made = results(module, x)
    leaves = [x, *module.parameters()]
    first = torch.autograd.grad(made[0].sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    return [*first, *gradients(module, made, x)]


@context
def operations_counted(module: nn.Module, x: Tensor) -> list[Tensor]:
    with FlopCounterMode(display=False) as counter:
        made = trained(module, x)
    counted = [torch.tensor(counter.get_total_flops())] if isinstance(module, nn.RNNBase) else []
    return made + counted


@context
def functions_watched(module: nn.Module, x: Tensor) -> list[Tensor]:
    with Names() as seen:
        made = trained(module, x)
    assert seen.names & {"linear", "lstm", "gru", "rnn_tanh", "matmul", "lstm_cell", "gru_cell", "rnn_tanh_cell"}
    return made


class Names(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@context
def weights_brought_along(module: nn.Module, x: Tensor) -> list[Tensor]:
    other = {name: (weight * 0.5).detach().requires_grad_() for name, weight in module.named_parameters()}
    output, after = torch.func.functional_call(module, other, (x,))
    return [output, *state.tensors(after), *torch.autograd.grad(output.sum(), list(other.values()))]


@context
def written_into(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    made = []
    for write in WRITES:
        output, *after = results(module, x)
        write(output)
        after[0].mul_(0.5)
        made += gradients(module, [output, *after], x)
    return made


WRITES: list[Callable[[Tensor], Any]] = [
    lambda y: y.mul_(0.7),
    lambda y: F.dropout(y, 0.0, inplace=True),
    lambda y: y.__setitem__(slice(2, None), 0.25),
    lambda y: y.masked_fill_(torch.ones_like(y).cumsum(0) > 2, 0.5),
    lambda y: F.relu_(y.add_(2)),
]


@context
def derivatives_in_a_batch(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    output = results(module, x)[0]
    directions = torch.stack([weights_like(output), weights_like(output).cos()]).to(output.dtype)
    leaves = [x, *module.parameters()]
    by_autograd = torch.autograd.grad(output, leaves, directions, is_grads_batched=True, retain_graph=True)
    by_vmap = torch.func.vmap(lambda d: torch.autograd.grad(output, leaves, d, retain_graph=True))(directions)
    return [*by_autograd, *by_vmap]


@context
def second_derivatives(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(results(module, x)[0].sin().sum(), x, create_graph=True)
    leaves = [x, *module.parameters()]
    return [slope, *torch.autograd.grad(slope.sin().sum(), leaves, allow_unused=True, materialize_grads=True)]


def _functional(module: nn.Module) -> tuple[dict[str, Tensor], Callable[..., Tensor]]:
    weights = {name: weight.detach() for name, weight in module.named_parameters()}

    def loss(given: dict[str, Tensor], x: Tensor) -> Tensor:
        output, after = torch.func.functional_call(module, given, (x,))
        return output.sin().sum() + torch.stack([tensor.cos().sum() for tensor in state.tensors(after)]).sum()

    return weights, loss


@context
def gradients_of_each_row(module: nn.Module, x: Tensor) -> list[Tensor]:
    weights, loss = _functional(module)
    rows = x.unsqueeze(2).movedim(1, 0)
    return list(torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, rows).values())


@context
def hessian(module: nn.Module, x: Tensor) -> list[Tensor]:
    weights, loss = _functional(module)
    return [torch.func.hessian(lambda x: loss(weights, x))(x)]


@context
def forward_mode(module: nn.Module, x: Tensor) -> list[Tensor]:
    with forward_ad.dual_level():
        made = results(module, forward_ad.make_dual(x, weights_like(x).to(x.dtype)))
        pairs = [forward_ad.unpack_dual(tensor) for tensor in made]
    weights, loss = _functional(module)
    both = torch.func.jvp(lambda x: loss(weights, x), (x,), (torch.ones_like(x),))
    return [tensor for pair in pairs for tensor in (pair.primal, pair.tangent)] + list(both)


@context
def a_state_under_a_transform(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        given = _as_given(module, results(module, x)[1:])
    return list(torch.func.vmap(lambda scale: results(module, x * scale, given)[0])(torch.tensor([1.0, 2.0]).to(x)))


@context
def traced(module: nn.Module, x: Tensor) -> list[Tensor]:
    made = torch.jit.trace(module, (x,))(x * 2)
    return [made[0], *state.tensors(made[1]), *trained(module, x)]


@context
def compiled(module: nn.Module, x: Tensor) -> list[Tensor]:
    torch.compiler.reset()
    x = x.detach().clone().requires_grad_()
    run = torch.compile(lambda x: module(x.mul(2)), backend="eager")
    made = []
    for _ in range(2):
        output, after = run(x)
        made += gradients(module, [output, *state.tensors(after)], x)
    return made


@context
def exported(module: nn.Module, x: Tensor) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        programs = [torch.export.export(module, (x,), strict=strict).module() for strict in (True, False)]
    made = [program(x * 2) for program in programs]
    return [tensor for output, after in made for tensor in (output, *state.tensors(after))] + trained(module, x)


def _as_given(module: nn.Module, after: list[Tensor]) -> Any:
    """A state as this module takes it."""
    return after[0] if isinstance(module, nn.RNNBase) and module.mode != "LSTM" else tuple(after)


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


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_drop_ins_are_torchs_in_a_single_step(kind: str, name: str) -> None:
    theirs, ours, x = modules(kind, name, torch.float32)
    if (kind, name) not in TORCH_CANNOT:
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


@pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
@pytest.mark.parametrize("make", [unroll.LSTM, unroll.GRU, lambda d, h: Recurrent("slstm", d, h)])
def test_the_compiler_keeps_the_kernels_and_a_plain_call_after_a_traced_one_has_them(
    make: Callable[[int, int], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    apply = cpu_kernel.Kernel.apply
    monkeypatch.setattr(cpu_kernel.Kernel, "apply", lambda *args: calls.append(1) or apply(*args))
    module, x = make(3, 4), torch.randn(5, 2, 3)
    for run in (torch.compile(module, backend="eager"), module):
        run(x)
        run(x)
    assert len(calls) == 4


@pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
def test_whoever_forces_the_kernels_is_told_who_watches() -> None:
    network, x = Recurrent("gru", 3, 4, backend="fused"), torch.randn(5, 2, 3)
    network(x)
    told = "backend='fused' cannot run GRUCell here: the fused kernels are out of the sight of "
    with Names(), pytest.raises(ValueError, match=told + "a mode that sees every operation"):
        network(x)
    with forward_ad.dual_level(), pytest.raises(ValueError, match=told + "forward-mode differentiation"):
        network(x)
    with pytest.raises(ValueError, match=told + r"a transform of torch\.func"):
        torch.func.grad(lambda x: network(x)[0].sum())(x)
