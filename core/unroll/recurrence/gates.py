"""How open, saturated or dead a cell's gates and activations are; for any cell, by intercepting its functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FLAT = 0.05
"""a sigmoid or tanh unit is saturated if its slope is below this fraction of the maximum"""

_FUNCTIONS = {
    torch.sigmoid: "sigmoid", torch.Tensor.sigmoid: "sigmoid", torch.tanh: "tanh", torch.Tensor.tanh: "tanh",
    torch.relu: "relu", torch.Tensor.relu: "relu", F.relu: "relu",
}  # fmt: skip

Squashed = list[tuple[str, Tensor]]
"""(function, values [B, H]) of each squashing function that one step called, in order"""


@contextmanager
def squashing() -> Iterator[Squashed]:
    """Collects the values of all calls of sigmoid, tanh and relu in the block, in order."""
    with _Listener() as listener:
        yield listener.seen


class _Listener(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: Squashed = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _FUNCTIONS:
            self.seen.append((_FUNCTIONS[func], result.detach()))
        return result


@dataclass(frozen=True)
class Activation:
    """One gate or activation over all steps and rows.

    Attributes:
        name: one of the cell's `activation_names`, or the function if it has none.
        function: "sigmoid", "tanh" or "relu".
        mean: of its values.
        saturated: fraction of the values whose slope is below FLAT times the maximum; for relu, the fraction of units
            that are zero at every step of every row.
        low, high: the 5th and the 95th percentile of its values.
    """

    name: str
    function: str
    mean: float
    saturated: float
    low: float
    high: float


def activations(cell: Any, squashed: Sequence[Squashed], alive: Tensor) -> list[Activation]:
    """Statistics of every squashing function over the steps and rows where bool [T, B] `alive` is true."""
    if not squashed:
        return []
    names = getattr(cell, "activation_names", ())
    results = []
    for index, (function, _) in enumerate(squashed[0]):
        values = torch.stack([step[index][1] for step in squashed])[alive]
        name = names[index] if len(names) == len(squashed[0]) else f"{function} {index + 1}"
        results.append(_statistics(name, function, values))
    return results


def _statistics(name: str, function: str, values: Tensor) -> Activation:
    values = values.float()
    if function == "relu":
        saturated = (values <= 0).flatten(1).all(0).float().mean()
    else:
        slope = 1 - values.square() if function == "tanh" else 4 * values * (1 - values)
        saturated = (slope < FLAT).float().mean()
    few = values.flatten()[:: max(1, values.numel() // 100_000)]
    low, high = torch.quantile(few, torch.tensor([0.05, 0.95], device=few.device)).tolist()
    return Activation(name, function, float(values.mean()), float(saturated), low, high)
