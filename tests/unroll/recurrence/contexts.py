"""The contexts in which a program may call: each makes a call, and returns everything that it gives."""

from __future__ import annotations

import copy
import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from unroll.recurrence import state

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
        made = results(module, x, as_given(module, made[1:]))
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
    products = {"linear", "matmul", "conv2d", "lstm", "gru", "rnn_tanh", "lstm_cell", "gru_cell", "rnn_tanh_cell"}
    assert seen.names & products
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
        given = as_given(module, results(module, x)[1:])
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


@context
def copied_and_pickled(module: nn.Module, x: Tensor) -> list[Tensor]:
    made = trained(module, x)
    torch.save(module, file := io.BytesIO())
    file.seek(0)
    return made + trained(torch.load(file, weights_only=False), x) + trained(copy.deepcopy(module), x)


@context
def weights_laid_elsewhere(module: nn.Module, x: Tensor) -> list[Tensor]:
    """As a sharded optimizer does it."""
    made = trained(module, x)
    for weight in module.parameters():
        weight.data = weight.data * 0.5
    return made + trained(module, x)


@context
def differentiated_on_another_thread(module: nn.Module, x: Tensor) -> list[Tensor]:
    made: dict[int, list[Tensor]] = {}

    def call(number: int) -> None:
        given = (x * (number + 1)).requires_grad_()
        output = results(module, given)[0]
        leaves = [given, *module.parameters()]
        made[number] = list(torch.autograd.grad(output.sin().sum(), leaves, allow_unused=True, materialize_grads=True))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [*made[0], *made[1]]


def as_given(module: nn.Module, after: list[Tensor]) -> Any:
    """A state as this module takes it."""
    return after[0] if isinstance(module, nn.RNNBase) and module.mode != "LSTM" else tuple(after)
