"""The stepper against its network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.cell import Cell, State
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.stepper import Stepper

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"no compiled kernels: {native.missing()}")
LAYER_NORMALISED = ["layernorm-lstm", "layernorm-gru", "ligru"]
CELLS = ["elman", "lstm", "gru", "mgu", "indrnn", "slstm", "cornn", "mingru", "minlstm", *LAYER_NORMALISED]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_is_the_network_stepped(name: str, batch: int) -> None:
    network = Recurrent(name, 6, 20, 2).eval()
    stepper = Stepper(network, batch)
    # Its layer norms magnify rounding: float32 step by step is itself up to 7e-6 off float64.
    rounding = 1e-5 if name == "layernorm-lstm" else 2e-6
    state = None
    with torch.no_grad():
        for _ in range(12):
            x = torch.randn(batch, 6)
            output, state = network.step(x, state)
            torch.testing.assert_close(stepper.step(x), output, atol=rounding, rtol=1e-5)
    for a, b in zip(stepper.state, state, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_a_network_without_biases(name: str) -> None:
    network = Recurrent(name, 6, 20, 2, bias=False).eval()
    stepper, state = Stepper(network, 2), None
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(2, 6)
            output, state = network.step(x, state)
            torch.testing.assert_close(stepper.step(x), output, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("weights", "share", "error"), [("bfloat16", 0.5, 2e-2), ("int8", 0.27, 2e-2)])
def test_fewer_bits_cost_little(weights: str, share: float, error: float) -> None:
    if weights == "bfloat16" and not native.base().has_bfloat16():
        pytest.skip("this processor has no bfloat16 products")
    torch.manual_seed(0)
    network = Recurrent("lstm", 64, 96, 2).eval()
    exact, rounded = Stepper(network), Stepper(network, weights=weights)
    for _ in range(30):
        x = torch.randn(1, 64)
        wanted = exact.step(x)
        assert float((rounded.step(x) - wanted).norm()) < error * float(wanted.norm())
    assert rounded.bytes <= share * exact.bytes


def test_it_starts_anew_and_from_a_state() -> None:
    network = Recurrent("gru", 3, 8).eval()
    stepper = Stepper(network)
    x = torch.randn(5, 1, 3)
    first = [stepper.step(x_t).clone() for x_t in x]
    kept = stepper.state
    stepper.reset()
    assert all(torch.equal(stepper.step(x_t), output) for x_t, output in zip(x, first, strict=True))
    after = stepper.step(x[0]).clone()
    stepper.reset(kept)
    assert torch.equal(stepper.step(x[0]), after)


def test_a_step_allocates_nothing_on_the_way() -> None:
    stepper = Stepper(Recurrent("lstm", 8, 32, 2).eval())
    x = torch.randn(1, 8)
    places = {stepper.step(x).data_ptr() for _ in range(5)}
    assert len(places) == 1
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        stepper.step(x)
    assert sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages()) == 0


class Bare(Cell):
    """Without a product at its input side."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def project(self, x: Tensor) -> Tensor:
        return x

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(u + F.linear(state[0], self.weight_hh))
        return hidden, (hidden,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstm", "bidirectional": True}, "bidirectional=False"),
        ({"cell": "lstm", "layers": 2, "residual": True}, "without skip or residual"),
        ({"cell": "convlstm"}, "cannot serve ConvLSTMCell: its rows are maps"),
        ({"cell": Bare}, "its project is not one product"),
    ],
)
def test_what_it_cannot_serve_it_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stepper(Recurrent(input_size=3, hidden_size=3, **options))


def test_a_wrong_kind_of_weights_is_named() -> None:
    with pytest.raises(ValueError, match="weights must be one of float32, bfloat16, int8, got 'int4'"):
        Stepper(Recurrent("lstm", 3, 4), weights="int4")
