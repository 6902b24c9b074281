"""Fast single time steps in plain calls: `Recurrent.step`, and torch.nn's modules with T = 1.

Without gradients a step is one C call (kernels.cpu.step). With gradients there is a second one for the cells that torch
has (kernels.cpu.step_gradients), except that a small bare RNN cell runs torch's own function. Each function returns
None for a call that it does not support, before doing anything.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any

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
from unroll.recurrence.kernels.cpu.step_gradients import Again, run
from unroll.recurrence.kernels.graph import CannotFuse
from unroll.recurrence.kernels.kernel_cache import kernel_of

_VF: Any = torch._VF
FUNCTIONS = {
    "LSTM": _VF.lstm_cell, "GRU": _VF.gru_cell, "RNN_TANH": _VF.rnn_tanh_cell, "RNN_RELU": _VF.rnn_relu_cell,
}  # fmt: skip
"""torch's functions for a single cell, by torch.nn's mode"""
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""the weights of a cell in torch.nn's order"""
LIGHT, LIGHT_TRAINING = 1 << 18, 1 << 19
"""multiplications per step (with gradients: per row) below which torch's RNN function, with one operation besides its
products, finishes before a call of ours has started"""


def wanted(*tensors: Tensor | None) -> bool:
    """Whether autograd records what is computed from these; the likeliest should come first."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def of_rnn_cell(cell: nn.RNNCell, mode: str, input: Tensor, hx: Any) -> Any:
    """`of_cell` for a cell with one operation besides its products, for which torch's function is fast."""
    weights = _of_torch(cell)
    if weights is None or type(input) is not Tensor or type(hx) is not Tensor or interceptor() is not None:
        return None
    if input.dim() != 2 or hx.dim() != 2:
        return None
    size = cell.hidden_size
    work = size * (size + cell.input_size)
    light = work < LIGHT_TRAINING if wanted(weights[1], input, hx, *weights) else input.shape[0] * work < LIGHT
    return FUNCTIONS[mode](input, hx, *weights) if light else of_cell(cell, mode, input, hx)


def of_cell(cell: nn.RNNCellBase, mode: str, input: Tensor, hx: Any) -> Any:
    """torch.nn's cell of this mode on rows [B, D] and states [B, H] -> what torch.nn's returns."""
    given = hx if mode == "LSTM" else (hx,)
    found = _of_torch(cell)
    if found is None or not _rows(input, given, 1 + (mode == "LSTM")) or interceptor() is not None:
        return None
    weights = found if found[2] is not None else found[:2]
    single = _standard(mode, cell.input_size, cell.hidden_size, 1, len(weights) == 4)
    if single is None or torch.is_autocast_enabled("cpu") or not _of_shapes(single, weights):
        return None
    after = run(single, _alone(mode), input, given, weights, output=False)
    return after if after is None else tuple(after) if mode == "LSTM" else after[0]


def of_module(module: nn.RNNBase, input: Tensor, hx: Any) -> tuple[Tensor, Any] | None:
    """torch.nn's RNN, LSTM or GRU on a sequence of one step [1, B, D] ([B, 1, D])."""
    lstm, mode, time = module.mode == "LSTM", module.mode, 1 if module.batch_first else 0
    if type(input) is not Tensor or module.bidirectional or module.proj_size or interceptor() is not None:
        return None
    x = input.squeeze(time)
    shape = (module.num_layers, x.shape[0], module.hidden_size)
    given = hx if lstm and hx is not None else (hx,) * (1 + lstm)
    given = [x.new_zeros(shape) if state is None else state for state in given]
    module._update_flat_weights()
    weights: list[Any] = module._flat_weights
    single = _standard(mode, module.input_size, module.hidden_size, module.num_layers, module.bias)
    if single is None or torch.is_autocast_enabled("cpu") or not _of_shapes(single, weights):
        return None
    dropout = module.dropout if module.training and module.num_layers > 1 else 0.0
    if not dropout:
        found = run(single, _again(mode), x, given, weights, module.num_layers)
    elif lstm and single.takes(x, given, weights, module.num_layers):
        found = _functions(mode, x, given, weights, dropout)
    else:
        return None  # torch's own function draws dropout in its usual order, except for an LSTM
    return None if found is None else (found[0].unsqueeze(time), tuple(found[1:]) if lstm else found[1])


def of_network(network: Any, x: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """`Recurrent.step` for a plain stack. Errors in x or the state are left to the general path."""
    if interceptor() is not None or type(x) is not Tensor or not _plain_stack(network):
        return None
    cells = network._modules["cells"]._modules.values()
    single = _stack(cells)
    if single is None:
        return None
    given = network.initial(x.shape[0]) if state is None else state
    if type(given) is not tuple:
        return None
    found = run(single, _again(single.mode), x, given, single.weights_of(cells), network.layers, checked=True)
    if found is None:
        return None
    if network.ran != "fused":  # setting an attribute of a module takes as long as a small step
        network.ran = "fused"
    return found[0], tuple(found[1:])


@functools.cache
def _again(mode: str) -> Again:
    """A step in torch's operations."""

    def again(x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return _functions(mode, x, given, weights)

    return again


@functools.cache
def _alone(mode: str) -> Again:
    """The states after a step of one cell in torch's operations."""

    def again(x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        after = _function(mode, x, given, weights)
        return after if mode == "LSTM" else (after,)

    return again


def _of_torch(cell: nn.RNNCellBase) -> tuple[Any, Any, Any, Any] | None:
    """The weights of a torch.nn cell in order; None if one of them is no longer a parameter."""
    mine = cell._parameters
    try:
        found = mine["weight_ih"], mine["weight_hh"], mine["bias_ih"], mine["bias_hh"]
    except KeyError:
        return None
    # By the parameters that exist, as torch's own forward does, not by `cell.bias`.
    if found[0] is None or found[1] is None or (found[2] is None) != (found[3] is None):
        return None
    return found


def _rows(input: Any, given: Any, states: int) -> bool:
    """Whether the input and the states are plain tensors with a batch dimension."""
    if type(input) is not Tensor or input.dim() != 2 or type(given) is not tuple or len(given) != states:
        return False
    return all(type(state) is Tensor and state.dim() == 2 for state in given)


def _of_shapes(single: Single, weights: Sequence[Any]) -> bool:
    """Whether these, which may be anything, have the shapes of its weights."""
    if len(weights) != len(single.shapes):
        return False
    for weight, shape in zip(weights, single.shapes, strict=True):
        if weight is None or weight.shape != shape:
            return False
    return True


def _plain_stack(network: Any) -> bool:
    """Whether the network is a stack of cells and nothing else."""
    if network.backend != "auto" or network.observer is not None or network.directions == 2 or any(network.zoneout):
        return False
    if network.layers > 1 and (network.skip or network.residual or (network.training and network.dropout)):
        return False
    if network.training and (network.weight_drop or any(network.variational)):
        return False
    return not torch.is_autocast_enabled("cpu")


def _function(mode: str, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
    """One cell in torch: x [B, D] and its states [B, H] -> the states after."""
    biases = () if len(weights) == 4 else (None, None)
    return FUNCTIONS[mode](x, state if mode == "LSTM" else state[0], *weights, *biases)


def _functions(
    mode: str, x: Tensor, given: Sequence[Tensor], weights: Sequence[Tensor], dropout: float = 0.0
) -> tuple[Tensor, ...]:
    """A stack of them: x [B, D] and states [layers, B, H] -> the output [B, H] and the states after.

    Output and states share no memory, and overwriting them changes nothing that autograd has saved.
    """
    layers = given[0].shape[0]
    each, after = len(weights) // layers, []
    for layer in range(layers):
        x = F.dropout(x, dropout) if layer and dropout else x
        mine = weights if layers == 1 else weights[layer * each : (layer + 1) * each]
        made = _function(mode, x, tuple([state[layer] for state in given]), mine)
        after.append(made if mode == "LSTM" else (made,))
        x = after[-1][0]
    # tanh saves its result for backward; the product that ends the other cells does not.
    output = x.clone() if mode.startswith("RNN") else x
    return output, *(torch.stack(parts) for parts in zip(*after, strict=True))


@functools.lru_cache(maxsize=64)
def _standard(mode: str, input_size: int, hidden_size: int, layers: int, bias: bool) -> Single | None:
    """The step of torch.nn's layers of this mode and size, or None if there is none. Weights come with each call."""
    if native.missing() is not None:
        return None
    options: dict[str, Any] = {"f": mode.removeprefix("RNN_").lower()} if mode.startswith("RNN") else {}
    kind: Any = {"LSTM": LSTMCell, "GRU": GRUCell}.get(mode, ElmanCell)
    sizes = [input_size] + [hidden_size] * (layers - 1)
    with torch.inference_mode(False), torch.device("meta"):
        cells = [kind(size, hidden_size, bias=bias, **options) for size in sizes]
    return _stack(cells)


def _stack(cells: Collection[Cell]) -> Single | None:
    """The step of these cells as they are now, or None if there is none. Cached with the lowest cell's kernel."""
    kernels = tuple([kernel_of(cell, Kernel) for cell in cells])
    if isinstance(kernels[0], str):  # the reason why there is no kernel
        return None
    known: dict[Any, Single | None] = kernels[0].stacks
    try:
        return known[kernels]
    except KeyError:
        return known.setdefault(kernels, _made(list(cells), kernels))


def _made(cells: list[Cell], kernels: Sequence[Any]) -> Single | None:
    if any(isinstance(kernel, str) for kernel in kernels):
        return None
    modes = {torch_kernels.mode(cell) for cell in cells}
    try:
        return Single(cells, kernels, modes.pop() if len(modes) == 1 else "")
    except (CannotFuse, CannotCompile):
        return None
