"""Cells that do not fit into a kernel call stay on the loop, and say why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.cpu import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")


class Weighty(Cell):
    """`many` vectors, each of which scales the state a little."""

    def __init__(self, input_size: int, hidden_size: int, many: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        for number in range(many):
            self.register_parameter(f"scale_{number}", nn.Parameter(torch.empty(hidden_size)))
        self.names = tuple(f"scale_{number}" for number in range(many))
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden = u
        for name in self.names:
            hidden = hidden + getattr(self, name) * state[0]
        hidden = torch.tanh(hidden)
        return hidden, (hidden,)


@pytest.mark.parametrize(("many", "served"), [(native.PARAMS - 4, True), (native.PARAMS + 1, False)])
def test_a_cell_with_more_weights_than_a_call_holds_is_refused(many: int, served: bool) -> None:
    network = Recurrent(Weighty, 3, 5, many=many, backend="fused")
    if served:
        x, found = torch.randn(4, 2, 3), {}
        for backend in ("eager", "fused"):
            network.backend = backend
            output, _ = network(x)
            found[backend] = torch.autograd.grad(output.square().sum(), list(network.parameters()))
            assert network.ran == backend
        for a, b in zip(found["eager"], found["fused"], strict=True):
            torch.testing.assert_close(b, a, atol=1e-4, rtol=1e-4)
    else:
        with pytest.raises(ValueError, match="more weights than a call can hold"):
            network(torch.randn(4, 2, 3))
