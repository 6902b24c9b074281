"""A small application for testing the loop: predict a running mean, in shuffled sequences or in one carried stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

from unroll.app import App, Data, Report, Score, Step
from unroll.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from unroll.recurrence.state import detach
from unroll.tracking import saved


@dataclass
class Shuffled:
    """Batches of rows in an order that depends on (seed, epoch) alone."""

    rows: int
    batch: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.epoch))
        yield from order[: len(self) * self.batch].view(-1, self.batch).tolist()


class Model(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(1, hidden)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        output, state = self.rnn(x, state)
        return self.out(self.dropout(output)), state


def data(config: Any, store: Any, rows: int = 48) -> Data:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 10, generator=generator)
    pairs = list(zip(x, x.cumsum(1) / torch.arange(1, 11), strict=True))
    loader = StatefulDataLoader(
        pairs, batch_sampler=Shuffled(rows, 8), collate_fn=_collate, generator=torch.Generator().manual_seed(0)
    )
    val, test = [_collate(pairs[:8]), _collate(pairs[8:16])], [_collate(pairs[16:32])]
    return Data(loader, val, test, {"size": 10}, "0" * 64, "by row")


def _collate(pairs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = zip(*pairs, strict=True)
    return torch.stack(x, 1)[..., None], torch.stack(y, 1)[..., None]


def step(model: nn.Module, batch: Any, state: Any) -> Step:
    x, y = batch
    prediction, state = model(x, state)
    return Step(nn.functional.mse_loss(prediction, y), size=x.numel(), state=state)


def evaluate(model: nn.Module, batches: Any) -> Report:
    losses, state = [], None
    for x, y in batches:
        prediction, state = model(x, detach(state))
        losses += ((prediction - y) ** 2).mean((0, 2)).tolist()
    records = [{"id": str(i), "score": value} for i, value in enumerate(losses)]
    torch.rand(3)  # an evaluation may draw random numbers
    return Report({"mse": sum(losses) / len(losses)}, records, "mse|v1")


APP: App = App(
    about="running mean",
    presets={
        "default": Config(
            data=DataConfig(),
            model=ModelConfig(cell="gru", hidden=8),
            train=TrainConfig(epochs=3, device="cpu"),
            optimizer=OptimizerConfig(lr=1e-2, schedule="cosine"),
        )
    },
    prepare=lambda config, store: None,
    data=data,
    model=lambda config, facts: Model(config.model.hidden),
    step=step,
    evaluate=evaluate,
    predict=lambda model, inputs: list(inputs),
    score=Score("mse", "min"),
    examples=(),
    name="toy",
)


def save_untrained(folder: Path) -> None:
    """A model as a training saves it."""
    saved.save(folder, APP, APP.config(), {}, "d" * 64, APP.model(APP.config(), {}))
