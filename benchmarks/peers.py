"""The same layer in other implementations: torch.nn, a loop over torch.nn's cells, NumPy, onnxruntime. Time first."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unroll.recurrence import Cell, Recurrent, from_torch

Array = NDArray[np.float32]
KINDS: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
CELLS: dict[str, Callable[..., nn.RNNCellBase]] = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}
ONNX_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's gate order, as positions in torch's"""


def pair(kind: str, hidden: int, layers: int = 1) -> tuple[nn.RNNBase, Recurrent]:
    """torch.nn's module and ours with the same weights, D = H."""
    theirs = KINDS[kind](hidden, hidden, layers)
    return theirs, from_torch(theirs)


def work(module: nn.Module, tokens: int, training: bool) -> float:
    """Operations in matrix products: two per weight and token forward; backward as many for x and for the weights."""
    weights = sum(p.numel() for name, p in module.named_parameters() if "weight" in name and p.dim() > 1)
    return 2.0 * weights * tokens * (3 if training else 1)


class Training:
    """Forward and backward of one layer: gradients for x and every weight, from a given gradient of the output."""

    def __init__(self, module: nn.Module, x: Tensor, *, bf16: bool = False, lengths: Tensor | None = None) -> None:
        self.module, self.bf16 = module, bf16
        self.options = {} if lengths is None else {"lengths": lengths}
        self.x = x.detach().clone().requires_grad_()
        self.gradient = torch.randn_like(self.forward())

    def forward(self) -> Tensor:
        """The output [T, B, H]."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            output: Tensor = self.module(self.x, **self.options)[0]
            return output

    def __call__(self) -> None:
        self.module.zero_grad(set_to_none=True)
        self.x.grad = None
        self.forward().backward(self.gradient)


class Packed(nn.Module):
    """torch.nn with packed sequences, from a padded batch to a padded batch."""

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        """x [T, B, D] and the outputs [T, B, H], zero past each row's end."""
        output, state = self.module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(output, total_length=len(x))[0], state


def inference(kind: str, module: nn.RNNBase, ours: Recurrent, x: Tensor) -> dict[str, Callable[[], object]]:
    """Forward without gradients, in every installed implementation."""
    ways: dict[str, Callable[[], object]] = {
        "Recurrent": partial(_output, ours, x),
        "nn": partial(_output, module, x),
        "nn cell, loop": cell_loop(kind, module, x),
        "NumPy": partial(_NUMPY[kind], _arrays(module), x.numpy()),
    }
    if onnx_missing() is None:
        ways["onnxruntime"] = onnx_session(kind, module, x)
    return ways


def _output(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = module(x)[0]
        return output


def cell_loop(kind: str, module: nn.RNNBase, x: Tensor) -> Callable[[], Tensor]:
    """As written in tutorials: torch.nn's cell, a Python loop, a stack."""
    [cell] = _cells(kind, module)

    def run() -> Tensor:
        state, outputs = None, []
        with torch.no_grad():
            for u in x:
                state = cell(u, state)
                outputs.append(state[0] if kind == "LSTM" else state)
            return torch.stack(outputs)

    return run


class Loop(nn.Module):
    """A cell called for each time step in Python, as usually written around a custom cell."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.cell = cast(Cell, network.cells[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """The outputs [T, B, H] and the state."""
        state, outputs = self.cell.initial(x.shape[1]), []
        for u in x:
            output, state = self.cell(u, state)
            outputs.append(output)
        return torch.stack(outputs), state


def cell_step(module: nn.RNNBase) -> Callable[[Tensor, Any], tuple[Tensor, Any]]:
    """One step of torch.nn's cells, one above the other."""
    cells = _cells("LSTM", module)

    def step(u: Tensor, state: Any) -> tuple[Tensor, Any]:
        after = []
        for cell, before in zip(cells, state or [None] * len(cells), strict=True):
            after.append(cell(u, before))
            u = after[-1][0]
        return u, after

    return step


def _cells(kind: str, module: nn.RNNBase) -> list[nn.RNNCellBase]:
    """A cell of torch.nn for each layer, D = H, with the layer's weights."""
    cells = []
    for layer in range(module.num_layers):
        cells.append(CELLS[kind](module.hidden_size, module.hidden_size))
        mine = {name.removesuffix(f"_l{layer}"): value for name, value in module.state_dict().items()}
        cells[-1].load_state_dict({name: mine[name] for name in cells[-1].state_dict()})
    return cells


def _arrays(module: nn.RNNBase) -> list[Array]:
    """weight_ih', weight_hh', bias_ih, bias_hh of the only layer."""
    weight_ih, weight_hh, bias_ih, bias_hh = (value.detach().numpy() for value in module.parameters())
    return [weight_ih.T, weight_hh.T, bias_ih, bias_hh]


def _sigmoid(x: Array) -> Array:
    shares: Array = np.reciprocal(1 + np.exp(-x))
    return shares


def _numpy_lstm(weights: list[Array], x: Array) -> Array:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    projected = x @ weight_ih + (bias_ih + bias_hh)
    hidden = cell = np.zeros((x.shape[1], len(weight_hh)), np.float32)
    output = np.empty((*x.shape[:2], len(weight_hh)), np.float32)
    for t, u in enumerate(projected):
        write, keep, candidate, out = np.split(u + hidden @ weight_hh, 4, axis=1)
        cell = _sigmoid(keep) * cell + _sigmoid(write) * np.tanh(candidate)
        output[t] = hidden = _sigmoid(out) * np.tanh(cell)
    return output


def _numpy_gru(weights: list[Array], x: Array) -> Array:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    projected, size = x @ weight_ih + bias_ih, len(weight_hh)
    hidden = np.zeros((x.shape[1], size), np.float32)
    output = np.empty((*x.shape[:2], size), np.float32)
    for t, u in enumerate(projected):
        recalled = hidden @ weight_hh + bias_hh
        reset, keep = np.split(_sigmoid(u[:, : 2 * size] + recalled[:, : 2 * size]), 2, axis=1)
        candidate = np.tanh(u[:, 2 * size :] + reset * recalled[:, 2 * size :])
        output[t] = hidden = candidate + keep * (hidden - candidate)
    return output


def _numpy_rnn(weights: list[Array], x: Array) -> Array:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    projected = x @ weight_ih + (bias_ih + bias_hh)
    hidden = np.zeros((x.shape[1], len(weight_hh)), np.float32)
    output = np.empty((*x.shape[:2], len(weight_hh)), np.float32)
    for t, u in enumerate(projected):
        output[t] = hidden = np.tanh(u + hidden @ weight_hh)
    return output


_NUMPY = {"LSTM": _numpy_lstm, "GRU": _numpy_gru, "RNN": _numpy_rnn}


def onnx_missing() -> str | None:
    """Why onnxruntime is left out; None if it is not."""
    absent = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)} (pip install onnx onnxruntime)" if absent else None


def onnx_session(kind: str, module: nn.RNNBase, x: Tensor) -> Callable[[], Tensor]:
    """ONNX's own node of this kind with the module's weights, in onnxruntime with as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Otherwise its threads would keep spinning after a call, while others are timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(_onnx_model(kind, module), options, providers=["CPUExecutionProvider"])
    inputs = {"x": x.numpy()}
    return lambda: torch.from_numpy(session.run(["y"], inputs)[0].squeeze(1))


def _onnx_model(kind: str, module: nn.RNNBase) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    hidden, order = module.hidden_size, ONNX_GATES[kind]

    def ordered(value: Tensor) -> Array:
        return np.concatenate([value.detach().numpy().reshape(len(order), hidden, -1)[gate] for gate in order])

    weight_ih, weight_hh, bias_ih, bias_hh = map(ordered, module.parameters())
    constants = {"w": weight_ih[None], "r": weight_hh[None], "b": np.concatenate([bias_ih, bias_hh])[:, 0][None]}
    more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(kind, ["x", *constants], ["y"], hidden_size=hidden, **more)
    shapes: dict[str, list[str | int]] = {"x": ["T", "B", module.input_size], "y": ["T", 1, "B", hidden]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], kind, [x], [y], kept)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    ).SerializeToString()
    return model
