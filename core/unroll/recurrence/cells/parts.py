"""Helpers that several cells share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def sum_of_biases(bias_ih: Tensor | None, bias_hh: Tensor | None) -> Tensor | None:
    """torch.nn keeps two biases where one would do; they are added once per sequence, not once per step."""
    if bias_ih is None:
        return None
    assert bias_hh is not None, "a cell has both or none"
    return bias_ih + bias_hh


def masked(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The hidden state as the recurrent product reads it (variational dropout)."""
    return hidden if mask is None else hidden * mask


def reset_norm(gains: Iterable[nn.Parameter], biases: Iterable[nn.Parameter]) -> None:
    """Gains to one and biases to zero: a layer norm starts as plain normalisation."""
    for gain in gains:
        nn.init.ones_(gain)
    for bias in biases:
        nn.init.zeros_(bias)


def set_gate_bias(bias: Tensor | None, other: Tensor | None, gates: int, index: int, value: Tensor) -> None:
    """Sets the total bias of gate `index` of `gates` to value [H], where two biases are added.

    Raises:
        ValueError: the cell was built without biases.
    """
    if bias is None:
        raise ValueError("an initialisation of the gates needs a cell with bias=True")
    with torch.no_grad():
        bias.chunk(gates)[index].copy_(value)
        if other is not None:
            other.chunk(gates)[index].zero_()
