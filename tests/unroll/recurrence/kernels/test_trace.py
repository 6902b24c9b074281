"""A step on symbols: its operations are recorded correctly, and unsupported ones are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.unroll.recurrence.kernels.test_graph import value
from unroll.recurrence.cell import Cell
from unroll.recurrence.kernels.graph import ByDesign, CannotFuse, Node
from unroll.recurrence.kernels.trace import StepGraph, projected_width, shadow, trace
from unroll.recurrence.registry import make_cell

H = 4


class Traceable(Cell):
    """Its step is `new` of the input [2 H], the state and itself."""

    def __init__(self, new: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__(3, H)
        self.new = new
        self.weight_ih = nn.Parameter(torch.randn(2 * H, 3))
        self.weight_hh = nn.Parameter(torch.randn(2 * H, H))
        self.vector, self.pair = nn.Parameter(torch.randn(H)), nn.Parameter(torch.randn(2, H))
        self.norm = nn.LayerNorm(2 * H)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih)

    def step(self, u: Any, state: Any) -> Any:
        hidden = self.new(self, u, state[0])
        return hidden, (hidden,)


def halves(cell: Any, u: Any, h: Any) -> Any:
    a, b = u.chunk(2, -1)
    return torch.sigmoid(a) * h + (1 - torch.sigmoid(a)) * torch.tanh(b)


STEPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "halves": halves,
    "slices": lambda cell, u, h: u[..., :H] * h - u[..., H:] / (2 + h * h),
    "split": lambda cell, u, h: u.split(H, -1)[1] + h,
    "product": lambda cell, u, h: torch.tanh(u + F.linear(h, cell.weight_hh)).chunk(2, -1)[1],
    "rows of a weight": lambda cell, u, h: F.linear(h, cell.weight_hh[H:]) + F.linear(h, cell.weight_hh[:H]),
    "chunks of a weight": lambda cell, u, h: F.linear(h, cell.weight_hh.chunk(2)[1], cell.vector),
    "vectors": lambda cell, u, h: cell.vector * h + cell.pair[1] - cell.pair[0] * u[..., :H],
    "vectors by methods": lambda cell, u, h: cell.vector.sigmoid() * h + (-cell.vector),
    "layer norm": lambda cell, u, h: cell.norm(u)[..., :H] + h,
    "layer norm without weights": lambda cell, u, h: F.layer_norm(h, (H,), eps=0.1),
    "cat": lambda cell, u, h: cell.norm(torch.cat([h, u[..., H:]], -1))[..., H:],
    "clamp": lambda cell, u, h: torch.clamp(h, -0.5, 0.25) + u[..., :H].clamp(min=0) + u[..., H:].clamp(max=0.1),
    "where": lambda cell, u, h: torch.where(h > u[..., :H], 2 * h, u[..., H:]),
    "comparisons": lambda cell, u, h: torch.where(h <= 0.1, h, torch.where(torch.lt(h, 0.3), 2 * h, -h)),
    "numbers from the left": lambda cell, u, h: 1 - h + 2 / (3 + h * h),
    "addcmul": lambda cell, u, h: torch.addcmul(h, u[..., :H], u[..., H:]) + torch.square(h),
    "functions": lambda cell, u, h: F.softplus(h) + F.logsigmoid(h) + torch.relu(h).expm1() + torch.exp(h).log1p(),
    "maximum": lambda cell, u, h: torch.maximum(h, u[..., :H]),
    "what stays itself": lambda cell, u, h: h.float().contiguous().to(u.dtype) * 2,
}


def computed(traced: StepGraph, cell: Any, u: Tensor, state: tuple[Tensor, ...]) -> Tensor:
    """The graph's output by torch."""
    given: dict[Node, Tensor] = {}
    sources = {"u": (u,), "state": state}
    for node in traced.graph._nodes.values():
        if node.op in ("u", "state", "param"):
            name, offset = node.data
            whole = cell.get_parameter(name).flatten() if node.op == "param" else sources[node.op][name]
            given[node] = whole[..., offset : offset + node.width].double()
    weights = {name: weight.double() for name, weight in cell.named_parameters()}
    parts = [value(node, given, weights) for node in traced.output]
    return torch.cat([part.expand(len(u), -1) for part in parts], -1)


@pytest.mark.parametrize("step", STEPS)
def test_the_graph_is_what_the_step_does(step: str) -> None:
    cell: Any = Traceable(STEPS[step])
    traced = trace(cell, 2 * H)
    u, state = torch.randn(5, 2 * H), (torch.randn(5, H),)
    with torch.no_grad():
        wanted = cell.double().step(u.double(), (state[0].double(),))[0]
        torch.testing.assert_close(computed(traced, cell, u, state), wanted)
    assert (traced.units, traced.inputs, traced.widths, traced.direct) == (H, 2 * H, (H,), False)


def test_with_project_u_is_its_product() -> None:
    traced = trace(Traceable(halves), None)
    assert traced.direct
    assert traced.inputs == projected_width(Traceable(halves)) == 2 * H


REFUSED: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "branch": (lambda cell, u, h: h if h else u, "branches on a value"),
    "unknown function": (lambda cell, u, h: torch.fft.fft(h), "fft_fft has no fused form"),
    "unknown method": (lambda cell, u, h: h.cumsum(-1), "cumsum has no fused form"),
    "tensor": (lambda cell, u, h: h + torch.ones(H), "a Tensor that is not a parameter enters"),
    "index": (lambda cell, u, h: h[0], "a value is indexed with 0"),
    "half a segment": (lambda cell, u, h: u[..., 2:6], "cut inside 4 units"),
    "batch": (lambda cell, u, h: h.chunk(2, 0)[0], "cut along the batch"),
    "cat of the batch": (lambda cell, u, h: torch.cat([h, h]), "cat along the batch"),
    "columns of a weight": (lambda cell, u, h: F.linear(h, cell.weight_hh.chunk(2, 1)[0]), "cut along its columns"),
    "matrix as values": (lambda cell, u, h: h * cell.pair, "used other than in a product"),
    "steps through a weight": (lambda cell, u, h: F.linear(h, cell.weight_hh[::2]), "a parameter is indexed with"),
    "widths": (lambda cell, u, h: F.linear(u, cell.weight_hh), "a product of 8 units with 4 columns"),
    "norm of a part": (lambda cell, u, h: F.layer_norm(u, (H,)), "something other than the whole row"),
    "vectors that do not fit": (lambda cell, u, h: u * torch.cat([h, h, h], -1), "do not fit|unequal"),
    "nothing of it": (lambda cell, u, h: 1.0, "does not depend on u or the state"),
    "another width": (lambda cell, u, h: torch.cat([h, h], -1), "another width than it says"),
    "an error": (lambda cell, u, h: h.nothing, "on symbols: AttributeError: nothing"),
    "values times values": (lambda cell, u, h: F.linear(h, h), "a value and a parameter"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_understood_is_named(kind: str) -> None:
    step, why = REFUSED[kind]
    with pytest.raises(CannotFuse, match=why):
        trace(Traceable(step), 2 * H)


def test_a_project_of_two_products_is_not_traced() -> None:
    class Twice(Traceable):
        def project(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight_ih) + F.linear(x, self.weight_ih)

    with pytest.raises(CannotFuse, match="project is more than one product"):
        trace(Twice(halves), None)
    assert not trace(Twice(halves), 2 * H).direct


def test_maps_are_not_for_it() -> None:
    with pytest.raises(ByDesign, match="maps, not vectors"):
        trace(make_cell("convlstm", 3, 4), None)
    with pytest.raises(ByDesign, match="maps, not vectors"):
        projected_width(make_cell("convlstm", 3, 4))


def test_a_mask_must_be_taken() -> None:
    with pytest.raises(CannotFuse, match="takes no mask"):
        trace(Traceable(halves), 2 * H, masked=True)
    traced = trace(make_cell("lstm", 3, H), None, masked=True)
    assert any(node.op == "mask" for node in traced.graph._nodes.values())


def test_a_shadow_leaves_the_module_alone() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3, bias=False))
    before, seen = dict(module.named_parameters()), []
    twin = shadow(module, lambda name, weight: seen.append(name), also=lambda one, path: seen.append(path))
    assert twin[0].weight is None and twin[1].bias is None
    assert seen == ["0.weight", "0.bias", "0.", "1.weight", "1.", ""]
    assert all(weight is before[name] for name, weight in module.named_parameters())
