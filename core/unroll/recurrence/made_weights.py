"""Weights computed from others: parametrised, normalised, pruned. `Recurrent` computes them once per call.

torch computes them whenever a module is called (`weight_norm`, `spectral_norm`, `prune`) or an attribute is read
(`parametrize`). A network calls only `project` and `step` of its cells, the latter at every time step.
"""

from __future__ import annotations

from typing import Any

from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.kernel_cache import kernels
from unroll.recurrence.kernels.trace import shadow

_MAKERS = (WeightNorm, SpectralNorm, BasePruningMethod)


def made(cell: Cell) -> Cell:
    """The cell, or, if some of its weights are computed from others, a shallow copy with their current values.

    Other hooks of a cell are not run: they fire when the cell itself is called, which a network never does.
    """
    made_of: Any = cell._modules.get("parametrizations")
    hooks: Any = [hook for hook in cell._forward_pre_hooks.values() if isinstance(hook, _MAKERS)]
    if not hooks and made_of is None:
        return cell
    kernels(cell)  # so that kernels compiled for the copy are kept for the next one
    for hook in hooks:
        hook(cell, ())
    names = [getattr(hook, "_tensor_name", None) or hook.name for hook in hooks]
    names += [] if made_of is None else made_of._modules
    twin: Any = shadow(cell, lambda _, weight: weight)
    twin.__class__ = parametrize.type_before_parametrizations(cell)
    for name in names:
        twin._parameters[name] = getattr(cell, name)
        twin.__dict__.pop(name, None)
    twin._modules.pop("parametrizations", None)
    kept = {key: hook for key, hook in cell._forward_pre_hooks.items() if hook not in hooks}
    twin.__dict__["_forward_pre_hooks"] = type(cell._forward_pre_hooks)(kept)
    result: Cell = twin
    return result
