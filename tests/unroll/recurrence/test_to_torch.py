"""Conversion of ours: to torch.nn's modules, to TorchScript, ONNX and pickles."""

import io
import pickletools
import warnings
import zipfile
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import unroll
from unroll.recurrence import CELLS, Recurrent, state, to_torch

KINDS = ["LSTM", "GRU", "RNN"]
OPTIONS: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True}
X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))


class Tagger(nn.Module):
    """A program of someone else, around one of ours."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Sequential(nn.Linear(12, 3), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


def tagger(kind: str) -> Tagger:
    torch.manual_seed(2)
    return Tagger(getattr(unroll, kind)(4, 6, **OPTIONS))


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_modules_over_the_same_parameters(kind: str) -> None:
    model = tagger(kind)
    model(X)
    made = to_torch(model)
    assert type(made.rnn) is getattr(nn, kind) and type(model.rnn) is getattr(unroll, kind)
    assert made.head is model.head
    torch.testing.assert_close(made(X), model(X))
    pairs = list(zip(made.parameters(), model.parameters(), strict=True))
    assert pairs and all(a is b for a, b in pairs)
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(2)
    torch.testing.assert_close(made(X), model(X))
    made.rnn.register_forward_hook(lambda *_: pytest.fail("a hook of the copy"))
    model(X)
    made.rnn.to(torch.float64)
    assert made.rnn.weight_hh_l0.dtype == torch.float64


def test_a_module_in_two_places_stays_one_and_nothing_to_do_is_nothing_done() -> None:
    shared = unroll.GRU(4, 4)
    made = to_torch(nn.ModuleDict({"a": shared, "b": nn.ModuleList([shared, None])}))
    assert made["a"] is made["b"][0] and type(made["a"]) is nn.GRU
    plain = nn.Sequential(nn.Linear(4, 4), Recurrent("gru", 4, 4))
    assert to_torch(plain) is plain
    assert type(to_torch(shared)) is nn.GRU


def test_what_a_subclass_adds_is_not_lost_in_silence() -> None:
    class Own(unroll.LSTM):  # type: ignore[misc,name-defined]
        pass

    with pytest.raises(TypeError, match="to_torch cannot tell what Own adds to a drop-in"):
        to_torch(nn.Sequential(Own(4, 6)))
    with pytest.raises(TypeError, match="ParametrizedLSTM"):
        to_torch(parametrizations.weight_norm(unroll.LSTM(4, 6), "weight_hh_l0"))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_quantised_dynamically(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated, and in wide use
        made = torch.ao.quantization.quantize_dynamic(to_torch(tagger(kind)), {nn.LSTM, nn.GRU, nn.Linear})
        assert "quantized.dynamic" in type(made.rnn).__module__
        torch.testing.assert_close(made(X), tagger(kind)(X), atol=0.05, rtol=0.05)


def test_traced_symbolically() -> None:
    made = torch.fx.symbolic_trace(to_torch(tagger("LSTM")))
    torch.testing.assert_close(made(X), tagger("LSTM")(X))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripted(kind: str) -> None:
    model = tagger(kind)
    script = torch.jit.script(model)
    torch.testing.assert_close(script(X), model(X))
    file = io.BytesIO()
    torch.jit.save(script, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(X), model(X))


@pytest.mark.filterwarnings("ignore")
def test_lightnings_and_onnxs_traces() -> None:
    import lightning

    class Engine(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = tagger("LSTM")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

    engine = Engine()
    for method in ("trace", "script"):
        torch.testing.assert_close(engine.to_torchscript(method=method, example_inputs=X)(X), engine(X))
    file = io.BytesIO()
    torch.onnx.export(tagger("GRU"), (X,), file, dynamo=False)
    assert b"GRU" in file.getvalue()


@pytest.mark.parametrize("name", [*KINDS, *CELLS])
def test_whole_modules_are_read_without_trust(name: str) -> None:
    """torch.load(weights_only=True) runs nothing that it does not know; what is kept in a call stays out of files."""
    torch.manual_seed(0)
    maps = name.startswith("conv")
    module = getattr(unroll, name)(4, 6) if name in KINDS else Recurrent(name, 4, 6)
    x = torch.randn(3, 2, 4, 5, 5) if maps else torch.randn(3, 2, 4)
    output, after = module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    back = torch.load(file, weights_only=True)
    again, state_again = back(x)
    for a, b in zip([output, *state.tensors(after)], [again, *state.tensors(state_again)], strict=True):
        assert torch.equal(a, b)
    with zipfile.ZipFile(file) as archive:
        (pickle,) = (archive.read(one) for one in archive.namelist() if one.endswith("data.pkl"))
    words = {str(argument) for _, argument, _ in pickletools.genops(pickle)}
    assert not words & {"_kernels", "_frames", "unroll.recurrence.kernels.kernel_cache _Kernels"}


def test_a_function_of_ones_own_is_pickled_as_it_is() -> None:
    module = Recurrent("elman", 4, 6, f=torch.nn.functional.silu)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert torch.load(file, weights_only=False).cells[0].f is torch.nn.functional.silu
