"""Bounds the size of a network while it is built, so that a few bytes of JSON cannot ask for all memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

SPARE = 1 << 20
"""numbers and modules allowed on top: a very small model may hold more than it saves"""


class TooLarge(Exception):  # noqa: N818
    """The network being built is larger than allowed; the message gives both sizes."""


@contextmanager
def bounded(numbers: int) -> Iterator[None]:
    """In this thread, networks built in the block hold at most about twice `numbers` numbers.

    Twice, because parameters that are tied, or created and replaced, are counted each time. PyTorch calls us before a
    parameter is filled, when its memory is reserved but not yet used; a module counts as one number, so that endless
    empty ones are stopped, too.

    Raises:
        TooLarge: more is being built.
    """
    here, most, built = threading.get_ident(), 2 * numbers + SPARE, 0

    def count(more: int) -> None:
        nonlocal built
        built += more if threading.get_ident() == here else 0
        if built > most:
            raise TooLarge(f"{built:,} numbers or more, but its weights are {numbers:,}")

    def parameter(_: nn.Module, __: str, tensor: Any) -> None:
        count(0 if tensor is None else tensor.numel())

    def module(_: nn.Module, __: str, ___: nn.Module | None) -> None:
        count(1)

    hooks = [register_module_parameter_registration_hook(parameter), register_module_module_registration_hook(module)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
