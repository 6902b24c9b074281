"""What `unroll.recurrence` takes from torch that torch does not promise.

Most of it answers one question: who is watching this call, so that a compiled kernel must not take it?
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import prune
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode

NAMES = {
    "_C": "torch's own extension module",
    "_is_tracing": "torch.jit.trace records",
    "_are_functorch_transforms_active": "torch.func transforms",
    "_len_torch_dispatch_stack": "modes that see every operation",
    "_len_torch_function_stack": "modes that see every function",
    "_get_current_function_mode_stack": "which these are: one that names a device only is no watcher",
    "_device": "the module of that one, DeviceContext",
    "_current_level": "forward-mode differentiation",
    "_functorch": "whether a tensor is a wrapper of torch.func's",
    "_storage_Use_Count": "how many tensors hold a buffer",
    "_cdata": "what that is asked of",
    "_version": "how often a tensor was written into",
    "_VF": "torch's functions of one cell and of one layer",
    "_flat_weights": "of RNNBase: the weights in the order of these functions",
    "_update_flat_weights": "makes them those of the attributes",
    "_modules": "of a module: children",
    "_parameters": "of a module: parameters",
    "_buffers": "of a module: buffers",
    "_forward_hooks": "of a module: what runs after its forward",
    "_forward_pre_hooks": "of a module: what runs before it, among others makers of weights",
    "_backward_hooks": "of a module: what runs in backward",
    "_backward_pre_hooks": "of a module: what runs before that",
    "_tensor_name": "of a pruning hook: the weight that it makes",
}


class Seen(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated:DeprecationWarning")
def test_tracing_is_told() -> None:
    told = [torch._C._is_tracing()]

    def step(x: Tensor) -> Tensor:
        told.append(torch._C._is_tracing())
        return x + 1

    torch.jit.trace(step, torch.ones(1), check_trace=False)
    assert told == [False, True] and not torch._C._is_tracing()


def test_transforms_and_their_tensors_are_told() -> None:
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    legacy = torch._C._functorch.is_legacy_batchedtensor
    told: list[Any] = []

    def step(x: Tensor) -> Tensor:
        told.append((torch._C._are_functorch_transforms_active(), wrapped(x), legacy(x)))
        return x + 1

    torch.func.vmap(step)(torch.ones(2))
    step(torch.ones(2))
    assert told == [(True, True, False), (False, False, False)]
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda gradient: told.append(legacy(gradient)))
    torch.autograd.grad(y, x, torch.eye(2), is_grads_batched=True)
    assert told[-1] is True


def test_forward_mode_is_told() -> None:
    assert forward_ad._current_level == -1
    with forward_ad.dual_level():
        assert forward_ad._current_level == 0


def test_modes_are_told() -> None:
    assert torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0
    with Seen():  # type: ignore[no-untyped-call]  # torch's constructor
        assert torch._C._len_torch_dispatch_stack() == 1
    with torch.device("cpu"), TorchFunctionMode():
        first, second = _get_current_function_mode_stack()
        assert torch._C._len_torch_function_stack() == 2
        assert isinstance(first, DeviceContext) and not isinstance(second, DeviceContext)


def test_the_holders_of_a_buffer_are_counted() -> None:
    base = torch.empty(8)
    storage = base.untyped_storage()
    alone = torch._C._storage_Use_Count(storage._cdata)
    view = base[2:]
    assert torch._C._storage_Use_Count(storage._cdata) == alone + 1
    del view
    assert torch._C._storage_Use_Count(storage._cdata) == alone


def test_writes_are_counted_over_all_views() -> None:
    x = torch.zeros(2)
    before = x._version
    x[0] = 1.0
    x.detach().add_(1)
    assert x._version == before + 2


def test_the_functions_of_cells_and_layers_are_torch_nns() -> None:
    for kind, cell, call in ((nn.LSTM, nn.LSTMCell, "lstm"), (nn.GRU, nn.GRUCell, "gru"), (nn.RNN, nn.RNNCell, "rnn")):
        layer, x = kind(2, 3), torch.randn(1, 4, 2)
        name = f"{call}_tanh" if call == "rnn" else call
        zeros = torch.zeros(1, 4, 3)
        given = (zeros, zeros) if call == "lstm" else zeros
        layer._update_flat_weights()
        weights: Any = layer._flat_weights
        output, *after = getattr(torch._VF, name)(x, given, weights, True, 1, 0.0, True, False, False)
        assert torch.equal(output, layer(x)[0]) and len(after) == 1 + (call == "lstm")
        one = cell(2, 3)
        one.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
        states = (zeros[0], zeros[0]) if call == "lstm" else zeros[0]
        step = getattr(torch._VF, f"{call}_tanh_cell" if call == "rnn" else f"{call}_cell")
        made = step(x[0], states, *one.parameters())
        made = made[0] if call == "lstm" else made
        assert torch.allclose(made, output[0], atol=1e-6)
    assert callable(torch._VF.rnn_relu) and callable(torch._VF.rnn_relu_cell)


def test_flat_weights_follow_the_attributes() -> None:
    layer = nn.GRU(2, 3)
    layer.weight_ih_l0 = nn.Parameter(torch.zeros(9, 2))
    layer._update_flat_weights()
    flat: Any = layer._flat_weights
    assert flat[0] is layer.weight_ih_l0
    assert [tuple(weight.shape) for weight in flat] == [(9, 2), (9, 3), (9,), (9,)]


def test_a_module_keeps_what_it_has_in_these_tables() -> None:
    module: Any = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    hooks = {
        "_forward_hooks": module.register_forward_hook(lambda *_: None),
        "_forward_pre_hooks": module.register_forward_pre_hook(lambda *_: None),
        "_backward_hooks": module.register_full_backward_hook(lambda *_: None),
        "_backward_pre_hooks": module.register_full_backward_pre_hook(lambda *_: None),
    }
    assert all(len(module.__dict__[name]) == 1 for name in hooks)
    assert list(module._modules) == ["0", "1"]
    assert list(module[0]._parameters) == ["weight", "bias"]
    assert list(module[1]._buffers) == ["running_mean", "running_var", "num_batches_tracked"]
    # A name that is taken out of a table is no attribute any more.
    del module[0].__dict__["_parameters"]["bias"]
    assert not hasattr(module[0], "bias")


def test_a_pruning_hook_names_its_weight() -> None:
    layer = nn.Linear(2, 2)
    prune.identity(layer, "weight")
    [hook] = layer._forward_pre_hooks.values()
    assert getattr(hook, "_tensor_name", None) == "weight"
