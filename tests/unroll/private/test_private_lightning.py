"""What `unroll.training.loop` takes from Lightning that Lightning does not promise."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from unroll.training.loop import _epochs_done, _quiet

NAMES = {
    "_should_accumulate": "whether the optimiser steps after this batch: no report and no checkpoint in between",
    "restarted_mid_epoch": "a run that was stopped at an epoch's end is not trained further when it is resumed",
    "is_last_batch": "after it the end of the epoch saves or stops, instead of the batch",
    "epoch_progress": "how many epochs are done",
}


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(pl.Callback):
    def __init__(self) -> None:
        self.accumulates: list[bool] = []
        self.last: list[bool] = []
        self.epochs: list[tuple[int, int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        assert trainer.fit_loop.restarted_mid_epoch is False
        self.accumulates.append(trainer.fit_loop._should_accumulate())
        self.last.append(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)
        self.epochs.append((_epochs_done(trainer), trainer.fit_loop.epoch_progress.current.ready))


def test_the_fit_loop_says_where_it_is() -> None:
    watch = Watch()
    with _quiet():
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=2, accumulate_grad_batches=2, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[watch],
        )  # fmt: skip
        trainer.fit(Model(), DataLoader(TensorDataset(torch.ones(3, 1))))
    # The last batch of an epoch steps, too, however many have been added up.
    assert watch.accumulates == [True, False, False] * 2
    assert watch.last == [False, False, True] * 2
    assert watch.epochs == [(0, 1)] * 3 + [(1, 2)] * 3 and _epochs_done(trainer) == 2
