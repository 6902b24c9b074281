"""Input checks: each ValueError or TypeError names the argument, the expected shape and what was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.cell import Cell, any_weight
from unroll.recurrence.context import autocasts, interceptor


def check_input(x: Any, cell: Cell, name: str = "x", batch_first: bool = False) -> None:
    """x must be floating point [T, B, D, *extent] ([B, T, ...]), of the cell's dtype and device, with T >= 1."""
    order = "B, T" if batch_first else "T, B"
    wanted = f"[{order}, D" + ", Y" * (cell.extent_dims > 1) + ", X" * (cell.extent_dims > 0) + "]"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor {wanted}, got {type(x).__name__}")
    if x.dim() != 3 + cell.extent_dims or x.shape[2] != cell.input_size:
        raise ValueError(f"{name} must be {wanted} with D = {cell.input_size}, got {list(x.shape)}")
    if x.shape[1 if batch_first else 0] == 0:
        raise ValueError(f"{name} must be {wanted} with T of at least 1, got {list(x.shape)}")
    check_kind(name, x, any_weight(cell))


def check_lengths(lengths: Any, steps: int, batch: int) -> Tensor:
    """lengths must be whole numbers [B], each from 0 to T. Returns them on the CPU, where the loops need them."""
    if isinstance(lengths, Sequence) and not isinstance(lengths, str):
        lengths = _whole_numbers(lengths)
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        kind = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths must be a tensor or a sequence of whole numbers [B], got {kind}")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths must be [B] with B = {batch}, got {list(lengths.shape)}")
    whole: Tensor = lengths.to("cpu", torch.int64)
    wrong = ((whole < 0) | (whole > steps)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(f"lengths must be from 0 to T = {steps}, got {int(whole[wrong[0]])} in row {wrong[0]}")
    return whole


def _whole_numbers(values: Sequence[Any]) -> Tensor:
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"lengths must be a tensor or a sequence of whole numbers [B], got {value!r} in it")
    return torch.tensor([int(value) for value in values], dtype=torch.int64, device="cpu")


def check_reset(reset: Tensor, steps: int, batch: int, device: torch.device) -> Tensor:
    """reset must be bool [T, B]."""
    if not isinstance(reset, Tensor) or reset.dtype != torch.bool:
        kind = reset.dtype if isinstance(reset, Tensor) else type(reset).__name__
        raise TypeError(f"reset must be a bool tensor [T, B], got {kind}")
    if reset.shape != (steps, batch):
        raise ValueError(f"reset must be [T, B] = [{steps}, {batch}], got {list(reset.shape)}")
    return reset.to(device)


def check_state(state: Any, wanted: Any, like: Tensor, name: str = "state") -> None:
    """state must be nested like `wanted`, with tensors of the sizes given there, of like's dtype and device, no NaN."""
    if isinstance(wanted, torch.Size):
        return _check_state_tensor(state, wanted, like, name)
    if not isinstance(state, tuple | list):
        raise TypeError(f"{name} must be a tuple of {len(wanted)}, as `initial` makes it, got {type(state).__name__}")
    if len(state) != len(wanted):
        raise ValueError(f"{name} must be a tuple of {len(wanted)}, as `initial` makes it, got {len(state)}")
    for index, (part, size) in enumerate(zip(state, wanted, strict=True)):
        check_state(part, size, like, f"{name}[{index}]")
    return None


def _check_state_tensor(state: Any, wanted: torch.Size, like: Tensor, name: str) -> None:
    if not isinstance(state, Tensor):
        raise TypeError(f"{name} must be a tensor {list(wanted)}, got {type(state).__name__}")
    if state.shape != wanted:
        raise ValueError(
            f"{name} must be [layers x directions, B, ...] = {list(wanted)} for this model and batch, "
            f"got {list(state.shape)}; is it the state of another model or batch?"
        )
    check_kind(name, state, like)
    # On a GPU this would synchronise, and tracers and transforms cannot follow a branch on values.
    if state.device.type == "cpu" and interceptor() is None and _holds_nan(state):
        raise ValueError(f"{name} holds NaN")


def _holds_nan(tensor: Tensor) -> bool:
    """The sum is NaN if any element is, but also if +inf meets -inf, which is a valid state."""
    return bool(tensor.sum().isnan()) and bool(tensor.isnan().any())


def check_kind(name: str, tensor: Tensor, like: Tensor) -> None:
    """A tensor must have like's device and dtype; under autocast any floating-point dtype will do."""
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, where the parameters are, got {tensor.device}")
    free = autocasts(like.device) and tensor.is_floating_point()
    if tensor.dtype != like.dtype and not free:
        raise TypeError(f"{name} must be {like.dtype}, as the parameters are, got {tensor.dtype}")
