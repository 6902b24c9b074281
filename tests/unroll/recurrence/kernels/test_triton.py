"""The Triton backend: in Triton's interpreter it equals the loop over `step`; without it all kernels compile for a GPU.

Triton reads TRITON_INTERPRET on import, so each kind of test runs in a separate process, which runs this file with the
variable set.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unroll.recurrence import conformance
from unroll.recurrence.cell import Cell
from unroll.recurrence.conformance import Trial, agree
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.kernel_cache import kernel_of
from unroll.recurrence.kernels.triton import triton_steps
from unroll.recurrence.kernels.triton.triton_kernel import Launch
from unroll.recurrence.registry import CELLS, make_cell
from unroll.recurrence.rnn import Recurrent

MODE = os.environ.get("TRITON_INTERPRET")
outside = pytest.mark.skipif(MODE is not None, reason="drives the others")
inside = pytest.mark.skipif(MODE != "1", reason="runs in the process that test_in_a_process_of_its_own starts")
compiled = pytest.mark.skipif(MODE != "0", reason="runs in the process that test_in_a_process_of_its_own starts")
there = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
# What is computed past the end of a row, and thrown away, may be a division by zero.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

VARIANTS = {
    "peephole": ("lstm", {"peephole": True}),
    "coupled": ("lstm", {"coupled": True}),
    "projection": ("lstm", {"projection": 3}),
    "reset before": ("gru", {"reset_gate": "before"}),
    "relu": ("elman", {"f": "relu"}),
    "positive": ("mingru", {"candidate": "positive"}),
    **{name: (name, {}) for name in CELLS if not name.startswith("conv")},
}
"""cells and their options"""
PLACES = {
    "whole": {},
    "lengths": {"lengths": torch.tensor([1, 3, 0])},
    "resets": {"reset": torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 1]]).bool()},
}
PLACES["both"] = {"lengths": torch.tensor([3, 1, 2]), "reset": PLACES["resets"]["reset"]}


class Odd(Cell):
    """States of two widths that change places, an output that is none of them and that the derivative reads."""

    def __init__(self, input_size, hidden_size):
        shapes = {"hidden": (2 * hidden_size,), "other": (hidden_size,)}
        super().__init__(input_size, hidden_size, output_size=2 * hidden_size, state_shapes=shapes)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size))
        self.reset_parameters()

    def project(self, x):
        return F.linear(x, self.weight_ih)

    def step(self, u, state):
        first, second = state[0].chunk(2, dim=-1)
        new = F.softplus(u + F.linear(state[0], self.weight_hh)).clamp(max=0.9)
        chosen = torch.where(new >= 0.7, first * new, torch.maximum(second, state[1]))
        hidden = torch.cat([second, torch.exp(-chosen * chosen)], -1)
        return torch.cat([chosen, new - state[1]], -1), (hidden, new * F.logsigmoid(chosen))


class Leaky(Cell):
    """No product, a constant, a norm over the row."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.gain = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def project(self, x):
        return F.linear(x, self.weight_ih)

    def step(self, u, state):
        hidden = F.layer_norm(u + 0.9 * state[0], self.gain.shape, self.gain, eps=0.1)
        return hidden, (hidden,)


@outside
@there
@pytest.mark.parametrize("mode", ["1", "0"], ids=["interpreted", "compiled"])
def test_in_a_process_of_its_own(mode, tmp_path):
    variables = {"TRITON_INTERPRET": mode, "TRITON_CACHE_DIR": str(tmp_path), "UNROLL_KERNELS": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-1_000:]
    assert " passed" in done.stdout, "it runs those that are skipped here"


def network_of(name, **options):
    cell, more = VARIANTS[name]
    return Recurrent(cell, 2, 5, backend="eager", **more, **options)


def compare(network, trial, backend="triton", **arguments):
    """Values and gradients by input, states, initial states and weights; and the values where no gradient is wanted."""

    def fast(x, state):
        torch.manual_seed(0)  # of the dropout masks
        with conformance._backend(network, backend):
            result = network(x, state, **arguments)
        assert network.ran == backend
        return result

    def loop(x, state):
        torch.manual_seed(0)
        return network(x, state, **arguments)

    agree(network, trial, fast, loop)
    with torch.no_grad():
        x, state = trial.x(network), trial.state(network)
        torch.testing.assert_close(fast(x, state), loop(x, state), atol=1e-5, rtol=1e-5)


@inside
@pytest.mark.parametrize(
    ("name", "where"),
    [(name, where) for name, (cell, _) in VARIANTS.items() for where in PLACES if where == "both" or name == cell],
)
def test_equals_the_loop(name, where):
    torch.manual_seed(1)
    compare(network_of(name, learn_initial=True), Trial(3, (3, 3, 3), dtype=torch.float32), **PLACES[where])


@pytest.mark.parametrize("cell", [Odd, Leaky])
@pytest.mark.parametrize("where", PLACES)
def test_cells_of_other_people(cell, where):
    """The fused path on the CPU too: it has the same plan."""
    if MODE == "0" or (MODE is None and native.missing()):
        pytest.skip("neither in the interpreter nor with a C compiler")
    torch.manual_seed(5)
    network = Recurrent(cell, 2, 5, backend="eager", learn_initial=True)
    compare(network, Trial(3, (3, 3, 3), dtype=torch.float32), "triton" if MODE else "fused", **PLACES[where])


@inside
@pytest.mark.parametrize("name", ["elman", "lstm", "layernorm-gru"])
def test_masks_of_variational_dropout(name):
    torch.manual_seed(2)
    trial = Trial(3, (3, 3, 3), dtype=torch.float32)
    compare(network_of(name, variational=(0.0, 0.0, 0.5)).train(), trial, **PLACES["both"])


@inside
@pytest.mark.parametrize(("name", "units"), [("peephole", 131), ("layernorm-lstm", 131), ("indrnn", 33)])
def test_more_rows_and_units_than_a_block_has(name, units):
    torch.manual_seed(3)
    cell, options = VARIANTS[name]
    network = Recurrent(cell, 2, units, backend="eager", **options)
    compare(network, Trial(2, (2,) * 6, dtype=torch.float32), lengths=torch.tensor([2, 1, 2, 2, 0, 1]))


@inside
@pytest.mark.parametrize("name", ["gru", "minlstm"])
def test_second_derivatives_go_through_the_loop(name):
    torch.manual_seed(4)
    network = network_of(name)
    results = []
    for backend in ("triton", "eager"):
        network.backend = backend
        x = torch.linspace(-1, 1, 12).view(3, 2, 2).requires_grad_()
        first = torch.autograd.grad(network(x)[0].square().sum(), x, create_graph=True)[0]
        results.append(torch.autograd.grad(first.square().sum(), [x, *network.parameters()]))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


@inside
def test_backward_twice_through_a_retained_graph():
    network = network_of("lstm")
    network.backend = "triton"
    x = torch.randn(3, 2, 2, requires_grad=True)
    loss = network(x)[0].sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, x), first)


@inside
def test_needs_no_c_compiler(monkeypatch):
    monkeypatch.setattr(native, "missing", lambda: "no C compiler")
    monkeypatch.setattr(native, "base", lambda: pytest.fail("C was called"))
    compare(network_of("layernorm-lstm"), Trial(2, (2,), dtype=torch.float32))


@inside
def test_no_steps_at_all():
    network = network_of("gru")
    network.backend = "triton"
    given = torch.randn(1, 3, 5)
    output, (state,) = network(torch.randn(2, 3, 2), (given,), lengths=torch.zeros(3, dtype=torch.int64))
    assert not output.any() and torch.equal(state, given)


@inside
def test_the_interpreter_is_never_chosen_by_itself():
    network = Recurrent("mingru", 2, 5)
    network.double()(torch.randn(3, 2, 2, dtype=torch.float64))
    assert network.ran == "scan"


@inside
@pytest.mark.parametrize(
    ("cell", "dtype", "shape", "reason"),
    [("gru", torch.float64, (3, 1, 2), "float32 weights"), ("convgru", torch.float32, (3, 1, 2, 4, 4), "maps")],
)
def test_says_what_it_cannot_do(cell, dtype, shape, reason):
    network = Recurrent(cell, 2, 5, backend="triton").to(dtype)
    with pytest.raises(ValueError, match=f"backend='triton' cannot run .*{reason}"):
        network(torch.randn(shape, dtype=dtype))


@outside
def test_needs_a_gpu():
    with pytest.raises(ValueError, match="backend='triton' cannot run MGUCell here: the Triton kernels are for CUDA"):
        Recurrent("mgu", 2, 5, backend="triton")(torch.randn(3, 2, 2))


def launches_of(kernel):
    parts = [part for parts in kernel.parts.values() for part in parts if isinstance(part, Launch)]
    return [*parts, *kernel.walks.values()]


@compiled
@pytest.mark.parametrize("name", ["peephole", "layernorm-gru", "minlstm"])
def test_compiles_for_a_gpu(name):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    cell, options = VARIANTS[name]
    kernel = kernel_of(make_cell(cell, 32, 64, **options), triton_steps.Kernel)
    whole = {"counts": "*i64", "offsets": "*i64", "reset": "*u8"}
    constants = {"RESET": True} if kernel.walks else {}
    launches = launches_of(kernel)
    assert launches
    for launch in launches:
        kinds = {buffer.name: whole.get(buffer.name, "*fp32") for buffer in launch.buffers}
        kinds |= dict.fromkeys(launch.numbers, "i32") | dict.fromkeys(constants, "constexpr")
        source = ASTSource(getattr(kernel.module, launch.name), kinds, constexprs=constants)
        made = compile(source, GPUTarget("cuda", 80, 32), {"num_warps": launch.warps, "enable_fp_fusion": True})
        assert made.asm["cubin"]
