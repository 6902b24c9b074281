"""The output of a fused pass is the memory that its backward step reads, yet the caller may write to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.autograd import _Writes

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


def spoilt(network: Recurrent, x: Tensor, written: bool) -> list[Tensor]:
    """Gradients of one loss, and again from the retained graph; before each the output is written into, or not."""
    leaves = [x, *network.parameters()]
    output = network(x)[0]
    loss = output.clone().square().sum()
    if written:
        output.detach()[1:].view(-1)[::3].mul_(5)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    if written:
        output.detach().zero_()
    return [*first, *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "options"), [("lstm", {}), ("lstm", {"projection": 10}), ("gru", {}), ("indrnn", {})])
def test_an_output_that_is_written_into_spoils_no_gradient(name: str, options: dict[str, Any], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network, x = Recurrent(name, 20, 20, layers=2, backend="fused", **options), torch.randn(7, 5, 20)
        x.requires_grad_()
        for a, b in zip(spoilt(network, x, True), spoilt(network, x, False), strict=True):
            torch.testing.assert_close(a, b)
    finally:
        torch.set_num_threads(before)


def test_an_output_is_not_copied_for_those_who_only_read_it() -> None:
    network = Recurrent("elman", 4, 8, backend="fused")
    output: Any = network(torch.randn(7, 5, 4))[0]
    [(fused_pass, _)] = output.grad_fn.next_functions
    kept = {tensor.untyped_storage().data_ptr() for tensor in fused_pass.saved_tensors if tensor is not None}
    assert output.untyped_storage().data_ptr() in kept


def test_counting_writes_holds_no_memory() -> None:
    tensor = torch.zeros(6)
    alias = tensor.data
    writes = _Writes(alias)
    assert writes.counter.untyped_storage().nbytes() == 0
    tensor.add_(1)
    assert not writes.seen()
    assert alias.tolist() == [1] * 6
    alias.view(2, 3)[1].mul_(2)
    assert writes.seen()
