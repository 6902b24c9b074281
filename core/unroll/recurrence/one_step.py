"""One time step of a plain call, for whoever calls one after another: `Recurrent.step`, torch.nn's modules with T = 1.

Without gradients it is one call of C (kernels.step). With them it is a second one for the cells that torch knows
(kernels.cpu.step_gradients), but for a bare RNN cell and torch.nn's layers torch's own function of one cell. Each
function here returns None for a call that it does not serve, before anything has been done.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell
from unroll.recurrence.cells.elman import ElmanCell
from unroll.recurrence.cells.gru import GRUCell
from unroll.recurrence.cells.lstm import LSTMCell
from unroll.recurrence.context import interceptor
from unroll.recurrence.kernels import torch_kernels
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import Kernel
from unroll.recurrence.kernels.cpu.compiled import CannotCompile
from unroll.recurrence.kernels.cpu.step import Single
from unroll.recurrence.kernels.cpu.step_gradients import Again, followed
from unroll.recurrence.kernels.graph import CannotFuse
from unroll.recurrence.kernels.kernel_cache import kernel_of

_VF: Any = torch._VF
FUNCTIONS = {
    "LSTM": _VF.lstm_cell, "GRU": _VF.gru_cell, "RNN_TANH": _VF.rnn_tanh_cell, "RNN_RELU": _VF.rnn_relu_cell,
}  # fmt: skip
"""torch's functions of a single cell, by torch.nn's name of the mode"""
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""the weights of a cell in torch.nn's order"""
LIGHT = 1 << 18
"""multiplications of a step below which torch's function of an RNN, with one operation besides its products, is over
before a call of ours has begun; the same goes for its gradients at any size"""


def wanted(*tensors: Tensor) -> bool:
    """Whether autograd follows what is computed from these."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def of_cell(cell: nn.RNNCellBase, mode: str, input: Tensor, hx: Any) -> Any:
    """torch.nn's cell of this mode on rows [B, D] and states [B, H] -> what torch.nn's returns."""
    given = hx if mode == "LSTM" else (hx,)
    weights = _of_torch(cell) if mode in FUNCTIONS else None
    if weights is None or not _rows(input, given, 1 + (mode == "LSTM")) or interceptor() is not None:
        return None
    rows, size = input.shape[0], cell.hidden_size
    trained = wanted(input, *given, *weights)
    if mode.startswith("RNN") and (trained or rows * size * (size + cell.input_size) < LIGHT):
        return _function(mode, input, given, weights)
    single = _standard(mode, cell.input_size, size, 1, len(weights) == 4)
    if (
        single is None
        or any(state.shape != (rows, size) for state in given)
        or not _serves(single, input, given, weights)
    ):
        return None
    if trained:
        after: Any = followed(single, _alone(mode), input, given, weights, output=False)
    else:
        after = single.run(input, given, weights, output=False)[1]  # type: ignore[index]
    return tuple(after) if mode == "LSTM" else after[0]


def of_module(module: nn.RNNBase, input: Tensor, hx: Any) -> tuple[Tensor, Any] | None:
    """torch.nn's RNN, LSTM or GRU on a sequence of one step [1, B, D] ([B, 1, D])."""
    lstm, mode, time = module.mode == "LSTM", module.mode, 1 if module.batch_first else 0
    if type(input) is not Tensor or module.bidirectional or module.proj_size or interceptor() is not None:
        return None
    if not lstm and _trained(module):
        return None  # torch's own is as fast
    x = input.squeeze(time)
    shape = (module.num_layers, x.shape[0], module.hidden_size)
    given = hx if lstm and hx is not None else (hx,) * (1 + lstm)
    given = [x.new_zeros(shape) if state is None else state for state in given]
    if len(given) != 1 + lstm or any(not isinstance(state, Tensor) or state.shape != shape for state in given):
        return None
    module._update_flat_weights()
    weights: list[Any] = module._flat_weights
    single = _standard(mode, module.input_size, module.hidden_size, module.num_layers, module.bias)
    if single is None or not _serves(single, x, given, weights):
        return None
    dropout = module.dropout if module.training and module.num_layers > 1 else 0.0
    if dropout or wanted(x, *given, *weights):
        output, after = _functions(mode, x, given, weights, dropout)
    else:
        output, after = cast("tuple[Tensor, list[Tensor]]", single.run(x, given, weights))
    return output.unsqueeze(time), (tuple(after) if lstm else after[0])


def of_network(network: Any, x: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """`Recurrent.step` of a plain stack. What is wrong with x or the state is found by who goes on."""
    if type(x) is not Tensor or x.dim() != 2 or not _plain_stack(network) or interceptor() is not None:
        return None
    cells, rows = network._modules["cells"]._modules.values(), x.shape[0]
    single = _stack(cells)
    if single is None:
        return None
    given = network.initial(rows) if state is None else state
    if type(given) is not tuple or len(given) != len(single.states):
        return None
    for tensor, width in zip(given, single.states, strict=True):
        if type(tensor) is not Tensor or tensor.shape != (network.layers, rows, width):
            return None
    weights = single.weights_of(cells)
    if not single.takes(x, given, weights):
        return None
    if torch.is_grad_enabled() and wanted(x, *given, *weights):
        return _followed(network, single, x, given, weights)
    found = single.run(x, given, weights, checked=True)
    if found is None:
        return None
    _ran(network, "fused")
    return cast(Tensor, found[0]), tuple(found[1])


def _followed(
    network: Any, single: Single, x: Tensor, given: tuple[Tensor, ...], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """With gradients, for cells that torch knows."""
    found = followed(single, _again(single.mode), x, given, weights) if single.mode else None
    if found is None:
        return None
    _ran(network, "fused")
    return found[0], found[1:]


@functools.cache
def _again(mode: str) -> Again:
    """A step in torch's operations."""

    def again(x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        output, after = _functions(mode, x, given, weights)
        return output, *after

    return again


@functools.cache
def _alone(mode: str) -> Again:
    """The states after a step of one cell in torch's operations."""

    def again(x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        after = _function(mode, x, given, weights)
        return after if mode == "LSTM" else (after,)

    return again


def _trained(module: nn.Module) -> bool:
    """Whether autograd follows the weights; usually the first one tells."""
    return torch.is_grad_enabled() and any(
        weight is not None and weight.requires_grad for weight in module._parameters.values()
    )


def _of_torch(cell: nn.RNNCellBase) -> list[Any] | None:
    """The weights of a cell of torch.nn's in their order; None: something else stands in the place of one."""
    mine = cell._parameters
    # By what is there, as torch's own forward does, not by `cell.bias`.
    weights = [mine.get(name) for name in (NAMES if mine.get("bias_ih") is not None else NAMES[:2])]
    if len(weights) == 2 and (mine.get("bias_hh") is not None or "bias_ih" not in mine):
        return None
    return None if any(weight is None for weight in weights) else weights


def _rows(input: Any, given: Any, states: int) -> bool:
    """Whether these are rows and the states of rows."""
    if type(input) is not Tensor or input.dim() != 2 or type(given) is not tuple or len(given) != states:
        return False
    return all(type(state) is Tensor and state.dim() == 2 for state in given)


def _serves(single: Single, x: Tensor, given: Sequence[Tensor], weights: Sequence[Any]) -> bool:
    """Whether the call is one for C; weights may be anything."""
    if torch.is_autocast_enabled("cpu") or len(weights) != len(single.shapes):
        return False
    right = all(
        weight is not None and weight.shape == shape for weight, shape in zip(weights, single.shapes, strict=True)
    )
    return right and single.takes(x, given, weights)


def _plain_stack(network: Any) -> bool:
    """Whether the network is its cells, one above the other, and nothing else."""
    if network.backend != "auto" or network.observer is not None or network.directions == 2 or any(network.zoneout):
        return False
    if network.layers > 1 and (network.skip or network.residual or (network.training and network.dropout)):
        return False
    if network.training and (network.weight_drop or any(network.variational)):
        return False
    return not torch.is_autocast_enabled("cpu")


def _ran(network: Any, name: str) -> None:
    """To set an attribute of a module takes as long as a small step."""
    if network.ran != name:
        network.ran = name


def _function(mode: str, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
    """One cell by torch: x [B, D] and its states [B, H] -> the states after."""
    biases = () if len(weights) == 4 else (None, None)
    return FUNCTIONS[mode](x, state if mode == "LSTM" else state[0], *weights, *biases)


def _functions(
    mode: str, x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor], dropout: float = 0.0
) -> tuple[Tensor, list[Tensor]]:
    """A stack of them: x [B, D] and states [layers, B, H] -> the output [B, H] and the states after.

    Output and states share no memory, and what is written over them reaches nothing that autograd has kept.
    """
    layers = given[0].shape[0]
    each, after = len(weights) // layers, []
    for layer in range(layers):
        x = F.dropout(x, dropout) if layer and dropout else x
        mine = weights if layers == 1 else weights[layer * each : (layer + 1) * each]
        made = _function(mode, x, tuple([state[layer] for state in given]), mine)
        after.append(made if mode == "LSTM" else (made,))
        x = after[-1][0]
    # A tanh keeps its result, which the product that ends the others does not.
    return (x.clone() if mode.startswith("RNN") else x), [torch.stack(parts) for parts in zip(*after, strict=True)]


@functools.lru_cache(maxsize=64)
def _standard(mode: str, input_size: int, hidden_size: int, layers: int, bias: bool) -> Single | None:
    """The step of torch.nn's layers of this mode and size; None: it cannot be had. Weights come with each call."""
    if native.missing() is not None:
        return None
    options: dict[str, Any] = {"f": mode.removeprefix("RNN_").lower()} if mode.startswith("RNN") else {}
    kind: Any = {"LSTM": LSTMCell, "GRU": GRUCell}.get(mode, ElmanCell)
    sizes = [input_size] + [hidden_size] * (layers - 1)
    with torch.inference_mode(False), torch.device("meta"):
        cells = [kind(size, hidden_size, bias=bias, **options) for size in sizes]
    return _stack(cells)


def _stack(cells: Collection[Cell]) -> Single | None:
    """The step of these cells as they are now; None: it cannot be had. Kept with the kernel of the lowest."""
    kernels = tuple([kernel_of(cell, Kernel) for cell in cells])
    known: dict[Any, Single | None] = getattr(kernels[0], "stacks", {})  # a str says why there is no kernel
    if kernels not in known:
        known[kernels] = _made(list(cells), kernels)
    return known[kernels]


def _made(cells: list[Cell], kernels: Sequence[Any]) -> Single | None:
    if any(isinstance(kernel, str) for kernel in kernels):
        return None
    modes = {torch_kernels.mode(cell) for cell in cells}
    try:
        return Single(cells, kernels, modes.pop() if len(modes) == 1 else "")
    except (CannotFuse, CannotCompile):
        return None
