"""Numbers at the edge of float32: inf and NaN stand where the loop over `step` has them, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unroll.recurrence import Recurrent
from unroll.recurrence.kernels.cpu import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("layernorm-lstm", {}), ("layernorm-gru", {}), ("rglru", {}), ("lstm", {}), ("gru", {}), ("elman", {}),
    ("elman", {"f": "relu"}), ("slstm", {}), ("ligru", {}), ("mingru", {}), ("minlstm", {}), ("indrnn", {}),
    ("cornn", {}),
]  # fmt: skip
LOOPS = ("rglru",)
"""cells without a single step in C"""
SIZES = [1e18, 1e30, float("inf")]
"""of an input; between the first two a variance is more than float32 holds"""


def results(network: Recurrent, backend: str, x: Tensor) -> list[Tensor]:
    """Output and state, and the gradients by x and the weights, of a call that began at an ordinary state."""
    network.backend = backend
    torch.manual_seed(1)
    state = tuple(torch.randn_like(tensor) for tensor in network.initial(x.shape[1]))
    x = x.clone().requires_grad_()
    output, after = network(x, state)
    found = [output, *after]
    loss = torch.stack([tensor.nan_to_num(0, 0, 0).sum() for tensor in found]).sum()
    gradients = torch.autograd.grad(loss, [x, *network.parameters()], allow_unused=True, materialize_grads=True)
    return [*(tensor.detach() for tensor in found), *gradients]


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stepwise", [False, True])
def test_inf_and_nan_are_where_the_loop_has_them(
    name: str, options: dict[str, Any], size: float, stepwise: bool
) -> None:
    torch.manual_seed(0)
    network = Recurrent(name, 20, 64, **options)  # a width at which torch's layer norm makes NaN, not 0
    x = torch.randn(1 if stepwise else 3, 4, 20).sign()
    x[:, 1] *= size
    x[0, 2, 3], x[0, 3] = size, -size
    found = []
    for backend in ("auto", "eager"):
        if stepwise:
            network.backend = backend
            with torch.no_grad():
                output, state = network.step(x[0])
            found.append([output, *state])
        else:
            found.append(results(network, "fused" if backend == "auto" else backend, x))
        if backend == "auto" and not (stepwise and name in LOOPS):
            assert network.ran == "fused"
    for number, (ours, theirs) in enumerate(zip(*found, strict=True)):
        where = f"result {number}"
        assert torch.equal(ours.isnan(), theirs.isnan()), where
        assert torch.equal(ours.isinf(), theirs.isinf()), where
        finite = theirs.isfinite()
        largest = max(1.0, float(theirs[finite].abs().max()) if finite.any() else 0.0)
        torch.testing.assert_close(ours[finite], theirs[finite], atol=1e-4 * min(largest, 1e35), rtol=1e-4, msg=where)
