"""Initialisations by name: `init="orthogonal"`, `init=("orthogonal", "forget")`, `init="chrono:784"`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from unroll.recurrence.cell import Cell

Initialiser = Callable[[Cell], None]


def orthogonal(cell: Cell, gain: float = 1.0) -> None:
    """Makes every H x H block of W orthogonal, so that it preserves norms (Saxe et al. 2014)."""
    for block in _blocks(cell):
        nn.init.orthogonal_(block, gain)


def identity(cell: Cell, scale: float = 1.0) -> None:
    """Sets every H x H block of W to the identity and biases to zero: the IRNN, for f = relu (Le et al. 2015)."""
    with torch.no_grad():
        for block in _blocks(cell):
            block.copy_(scale * torch.eye(*block.shape))
        for name, parameter in cell.named_parameters(recurse=False):
            if name.startswith("bias"):
                parameter.zero_()


def forget(cell: Cell, bias: float = 1.0) -> None:
    """Sets the bias of the gate that keeps the memory (Gers et al. 2000; Jozefowicz et al. 2015)."""
    cell.set_memory(torch.full((cell.hidden_size,), float(bias)))


def chrono(cell: Cell, longest: float = 100.0) -> None:
    """Biases for memories of 1 to `longest` steps, log(uniform(1, longest - 1)) (Tallec and Ollivier 2018)."""
    if not longest > 2:
        raise ValueError(f"chrono needs a longest dependency of more than 2 steps, got {longest}")
    keep = torch.empty(cell.hidden_size).uniform_(1, longest - 1).log()
    cell.set_memory(keep, -keep)


INITIALISERS: Mapping[str, Callable[..., None]] = {
    "orthogonal": orthogonal,
    "identity": identity,
    "forget": forget,
    "chrono": chrono,
}


def initialise(cell: Cell, init: str | Initialiser | Sequence[str | Initialiser] | None) -> None:
    """Applies one initialiser, or several in order; a name may take a number after a colon ("chrono:784").

    Raises:
        ValueError: an unknown name, an invalid number, or a cell that the initialiser does not apply to.
    """
    if init is None:
        return
    if not isinstance(init, str) and isinstance(init, Sequence):
        for one in init:
            initialise(cell, one)
        return
    if callable(init):
        init(cell)
        return
    name, _, number = init.partition(":")
    if name not in INITIALISERS:
        raise ValueError(f"init must be one of {', '.join(INITIALISERS)} or name:number, got {init!r}")
    try:
        values = [float(number)] if number else []
    except ValueError:
        raise ValueError(f"init {init!r}: {number!r} is not a number") from None
    INITIALISERS[name](cell, *values)


def _blocks(cell: Cell) -> list[Tensor]:
    """The recurrent weights split into blocks of H rows, one per gate."""
    weights = [weight for name in cell.recurrent_weights if (weight := getattr(cell, name, None)) is not None]
    blocks = [block for weight in weights if weight.dim() == 2 for block in weight.detach().split(cell.hidden_size)]
    if not blocks:
        raise ValueError(f"{type(cell).__name__} has no recurrent weight matrix to initialise")
    return blocks
