"""Networks whose gradient through time is known to vanish, explode or persist, and an application around them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.unroll.training.toy import APP as TOY
from unroll.app import App, Data, Report, Step
from unroll.config import Config, ModelConfig, TrainConfig
from unroll.recurrence import Recurrent

D, K = 3, 4


class Net(nn.Module):
    """A network and a linear output over K classes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        self.rnn = Recurrent(*args, **options)
        self.out = nn.Linear(self.rnn.output_size, K)


def step(model: Net, batch: Any, state: Any) -> Step:
    """Whole sequences: nothing is carried."""
    x, y = batch
    output, _ = model.rnn(x)
    return Step(nn.functional.cross_entropy(model.out(output).flatten(0, 1), y.flatten()), size=y.numel())


def carried(model: Net, batch: Any, state: Any) -> Step:
    """Windows of a stream."""
    x, y = batch
    output, state = model.rnn(x, state)
    return Step(nn.functional.cross_entropy(model.out(output).flatten(0, 1), y.flatten()), size=y.numel(), state=state)


def data(config: Any, store: Any = None) -> Data:
    """The class of the input five steps before; 24 batches to train on."""

    def batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            x = torch.randn(30, 8, D, generator=generator)
            yield x, (x.roll(5, 0).argmax(2)).clamp(max=K - 1)

    return Data(list(batches(24, config.train.seed)), list(batches(4, 99)), [], {}, "0" * 64, "drawn")


def evaluate(model: Net, batches: Any) -> Report:
    """The mean loss."""
    losses = [float(step(model, batch, None).loss) for batch in batches]
    return Report({"mse": sum(losses) / len(losses)}, [])


APP: App = replace(
    TOY,
    step=step,
    data=data,
    evaluate=evaluate,
    model=lambda config, facts: Net(config.model.cell, D, config.model.hidden, config.model.layers),
    presets={
        "default": Config(model=ModelConfig(cell="elman", hidden=8), train=TrainConfig(epochs=1, device="cpu")),
    },
)
STREAM = replace(APP, step=carried)


def elman(f: str, radius: float, hidden: int = 16) -> Net:
    """At rest and in its linear range, with dS_t/dS_{t-1} of this spectral radius there."""
    net = Net("elman", D, hidden, f=f, learn_initial=f == "sigmoid")
    cell: Any = net.rnn.cells[0]
    with torch.no_grad():
        W = torch.randn(hidden, hidden)
        if f == "relu":  # all units above zero, and they stay there
            W = W.abs()
            cell.weight_ih.abs_()
        W *= radius / torch.linalg.eigvals(W).abs().max()
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
        if f == "sigmoid":  # the slope at 0, where S = 1/2, is 1/4
            W *= 4
            cell.bias_hh.copy_(-W.sum(1) / 2)
            net.rnn.learned["hidden_0"].fill_(0.5)
        cell.weight_hh.copy_(W)
    return net


def quiet(f: str, steps: int = 32) -> tuple[Tensor, Tensor]:
    """Inputs too small to push a network out of its linear range."""
    x = torch.randn(steps, 2, D) * 1e-5
    return (x.abs() if f == "relu" else x), torch.randint(K, (steps, 2))
