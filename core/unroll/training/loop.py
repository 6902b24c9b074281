"""The training loop, once for all applications: `fit`.

The only file that knows the engine, Lightning's Trainer. One batch is one optimiser step (or a share of one, see
`train.accumulate`); what an application carries through time rides on the adapter and is detached after each step.
A checkpoint holds everything that the future depends on, the carried state, the position in the data and all random
states included, so that a resumed run gives the same bits as an undisturbed one.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from unroll.app import App, Data, Step
from unroll.config import Config
from unroll.errors import Notice
from unroll.interrupt import Interrupted, StopRequest
from unroll.lazy import resolved
from unroll.recurrence.state import detach
from unroll.training.averaging import averaged, observe_score
from unroll.training.best import Best
from unroll.training.checkpoint import Checkpoints, load
from unroll.training.costs import Costs
from unroll.training.evaluation import evaluate, random_states, restore_random_states
from unroll.training.health import Health
from unroll.training.optimizer import Schedule, optimizer
from unroll.training.progress import Explain, Fitted, Observer, Position, Probe
from unroll.training.resuming import restoring, resumable

UNLIMITED = 1_000_000
"""epochs for a training that the clock ends: more than there will be"""


def fit(
    app: App,
    config: Config,
    data: Data,
    model: nn.Module,
    folder: Path,
    observers: Sequence[Observer] = (),
    resume: bool = False,
    probe: Probe | None = None,
    explain: Explain | None = None,
) -> Fitted:
    """Train `model` in place; it ends with the weights that were best on the validation split.

    Args:
        app: supplies step, evaluate and score.
        config: its `train` and `optimizer` sections are read here.
        data: the splits; `data.train` must be a `StatefulDataLoader` for an exact resume.
        model: fresh from `app.model`; seeded by the caller.
        folder: where checkpoints are kept.
        observers: told of every step, evaluation and checkpoint.
        resume: resume from the newest checkpoint in `folder`; from the beginning if none was written yet.
        probe: called every `train.probe_every` optimiser steps with the model, the batch, the state that it was given
            and the step; its numbers go to the observers with those of the step. It changes nothing.
        explain: says what is wrong with the model where the training is stopped for its bad steps.

    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint was written first.
        UserError: `train.bad_steps` steps in a row that could not be taken (see `health`); all checkpoints to resume
            from are damaged; the disk is full.
    """
    checkpoints = Checkpoints(folder)
    path = resumable(checkpoints) if resume else None
    adapter = _Adapter(app, config, model, _steps(data, config), Health(app, config, folder, explain))
    with StopRequest() as stop, _quiet():
        watch = _LoopCallback(adapter, data, checkpoints, observers, stop, probe=probe)
        trainer = _trainer(config, watch)
        with restoring(path, lambda: watch.under_way):
            trainer.fit(adapter, train_dataloaders=data.train, ckpt_path=path, weights_only=True)
        adapter.health.check_any()
        watch.evaluate_if_due(trainer)
    if watch.best.score is not None:
        watch.best.restore(model)
    return Fitted(watch.position(trainer), watch.stopped, watch.best.score, watch.best.epoch, watch.costs)


class _Adapter(pl.LightningModule):
    """Adapts an application's plain functions to Lightning's Trainer."""

    def __init__(self, app: App, config: Config, model: nn.Module, steps: int, health: Health) -> None:
        super().__init__()
        self.app, self.config, self.model, self.health = app, config, model, health
        self.loss_of: Callable[[nn.Module, Any, Any], Step] = resolved(app.step)
        wanted = config.optimizer
        self.schedule = Schedule(
            wanted.schedule, wanted.warmup, steps,
            epochs=config.train.epochs or UNLIMITED, decay=wanted.decay, decay_after=wanted.decay_after,
        )  # fmt: skip
        self.carried: Any = None
        self.given: Any = None
        self.last: Step | None = None
        self.norm = torch.zeros(())

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.given = self.carried
        self.last = step = self.loss_of(self.model, batch, self.carried)
        # The state of a step that went wrong would spoil the next ones: they continue from the last sound one.
        if self.health.look(step.loss):
            self.carried = detach(step.state)
        return step.loss

    def on_train_epoch_start(self) -> None:
        self.carried = None

    def configure_optimizers(self) -> Any:
        chosen = optimizer(self.config.optimizer, self.model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, self.schedule)
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        limit = self.config.optimizer.clip or math.inf
        self.norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if not self.health.allows(self.norm):
            optimizer.zero_grad()  # parameters without a gradient are left alone

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["carried"], checkpoint["health"] = self.carried, self.health.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.carried = checkpoint["carried"]
        self.health.load_state_dict(checkpoint["health"])


class _LoopCallback(pl.Callback):
    """Everything around the steps: evaluation, best weights, stopping, checkpoints, signals, observers."""

    def __init__(
        self,
        adapter: _Adapter,
        data: Data,
        checkpoints: Checkpoints,
        observers: Sequence[Observer],
        stop: StopRequest,
        *,
        probe: Probe | None,
    ) -> None:
        self.adapter, self.data, self.checkpoints = adapter, data, checkpoints
        self.observers, self.stop, self.probe = observers, stop, probe
        self.train, self.score = adapter.config.train, adapter.app.score
        self.best = Best(adapter.app, lambda: stop.watch(data.val), checkpoints)
        self.costs = Costs()
        self.evaluated_epochs = 0
        self.stopped = "epochs"
        self.under_way = False
        self.seconds = 0.0
        self._resumed_randomness: dict[str, Any] | None = None
        self._began = self._last_save = self._told = self._batch_ended = time.monotonic()
        self._waited = self._size = 0.0

    # What a checkpoint holds of this object.

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best.state_dict(), "costs": self.costs.state_dict(), "seconds": self._elapsed(),
            "evaluated_epochs": self.evaluated_epochs, "stopped": self.stopped, "random": random_states(),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed_randomness = state_dict["random"]
        restore_random_states(state_dict["random"])  # what is malformed fails here; on_train_start sets them to last
        self.best.load_state_dict(state_dict["best"])
        self.costs.load_state_dict(state_dict["costs"])
        for name in ("evaluated_epochs", "seconds", "stopped"):
            setattr(self, name, state_dict[name])

    # The Trainer's hooks.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.install()  # the Trainer has just put its own handler for SIGTERM
        self._began = self._last_save = time.monotonic()
        self._set_epoch(trainer)
        self.evaluate_if_due(trainer)
        # The training had come to its end, and the process was killed in what follows it.
        if self.stopped != "epochs" and not trainer.fit_loop.restarted_mid_epoch:
            trainer.should_stop = True
        if trainer.ckpt_path and self._resumed_randomness is None:
            raise ValueError("it holds nothing of the best score, the time and the random numbers")
        if self._resumed_randomness is not None:
            restore_random_states(self._resumed_randomness)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set_epoch(trainer)
        self._told = self._batch_ended = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        self._waited += time.monotonic() - self._batch_ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.adapter.last is not None
        self._size += self.adapter.last.size
        self.under_way = True
        # Between two optimiser steps the half-added gradient would be lost: no report and no checkpoint there.
        if not trainer.fit_loop._should_accumulate():
            if self.adapter.health.problem:
                self._skip_step(trainer, batch)
            else:
                self.adapter.health.took(batch, self.adapter.given)
                self._tell_step(trainer, self._probed(trainer, batch))
            self._check_clock(trainer)
            # After the last batch the epoch's end saves or stops: the Trainer resumes exactly from there only.
            if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
                self._save_or_stop(trainer)
        self._batch_ended = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.evaluate_if_due(trainer)

    # What the hooks are made of.

    def evaluate_if_due(self, trainer: pl.Trainer) -> None:
        """Evaluate once after every `evaluate_every` finished epochs and after the last one, also when the run was
        stopped between an epoch and its evaluation.
        """
        epoch = _epochs_done(trainer)
        if self.evaluated_epochs >= epoch:
            return
        if epoch % self.train.evaluate_every and epoch != self.train.epochs and not trainer.should_stop:
            self._save_or_stop(trainer)
            return
        self.costs.interrupted()
        try:
            self.stop.check()
            with averaged(trainer.optimizers[0]):
                report = evaluate(self.adapter.app, self.adapter.model, self.stop.watch(self.data.val))
                self._judge(trainer, report.metrics[self.score.name], epoch)
        except Interrupted:
            self._save(trainer)
            raise
        self.evaluated_epochs = epoch
        observe_score(trainer.optimizers[0], report.metrics[self.score.name], self.score.better)
        metrics = {f"val/{name}": value for name, value in report.metrics.items()}
        for observer in self.observers:
            observer.evaluated(self.position(trainer), metrics, best=self.best.epoch == epoch)
        self._save(trainer)

    def position(self, trainer: pl.Trainer) -> Position:
        """Current position of the training."""
        step, steps = trainer.global_step, self.adapter.schedule.steps
        share = min(max(step / max(steps, 1), self.adapter.schedule.elapsed), 1.0)
        epoch = max(trainer.fit_loop.epoch_progress.current.ready, _epochs_done(trainer))
        return Position(step, epoch, self.train.epochs, share, self._elapsed())

    def _judge(self, trainer: pl.Trainer, value: float, epoch: int) -> None:
        if self.best.update(self.adapter.model, value, epoch):
            return
        if self.adapter.schedule.shape == "plateau":
            self.adapter.schedule.plateau /= 4
        if self.train.patience and self.best.without_gain >= self.train.patience:
            self._end(trainer, "patience")

    def _save_or_stop(self, trainer: pl.Trainer) -> None:
        if self.stop.number is not None:
            self._save(trainer)
            self.stop.check()
        if time.monotonic() - self._last_save > 60 * self.train.checkpoint_minutes:
            self._save(trainer)

    def _check_clock(self, trainer: pl.Trainer) -> None:
        if self.train.minutes:
            self.adapter.schedule.elapsed = min(self._elapsed() / 60 / self.train.minutes, 1.0)
            if self.adapter.schedule.elapsed == 1.0:
                self._end(trainer, "minutes")

    def _end(self, trainer: pl.Trainer, reason: str) -> None:
        self.stopped = reason
        trainer.should_stop = True

    def _save(self, trainer: pl.Trainer) -> None:
        # The observers first: what they lost after the checkpoint was there would not be observed again.
        for observer in self.observers:
            observer.saving()
        trainer.save_checkpoint(self.checkpoints.last)
        self._last_save = time.monotonic()

    def _skip_step(self, trainer: pl.Trainer, batch: Any) -> None:
        adapter = self.adapter
        notice = adapter.health.skip(adapter.model, batch, adapter.given, trainer.global_step)
        warnings.warn(notice, Notice, stacklevel=2)
        self._size = self._waited = 0.0

    def _probed(self, trainer: pl.Trainer, batch: Any) -> Mapping[str, float]:
        every = self.train.probe_every
        if self.probe is None or not every or trainer.global_step % every:
            return {}
        return self.probe(self.adapter.model, batch, self.adapter.given, trainer.global_step)

    def _tell_step(self, trainer: pl.Trainer, probed: Mapping[str, float]) -> None:
        step = self.adapter.last
        assert step is not None
        now = time.monotonic()
        metrics = {
            "train/loss": step.loss.item(),
            "train/gradient_norm": (norm := self.adapter.norm.item()),
            **self.adapter.health.numbers(norm),
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train/data_wait": self._waited / (now - self._told),
            **{f"train/{name}": float(value) for name, value in step.logs.items()},
            **probed,
        }
        position = self.position(trainer)
        for observer in self.observers:
            observer.step(position, self._size, metrics)
        self.costs.step(position.seconds, self._size, self._waited, now - self._told)
        self._size = self._waited = 0.0
        self._told = now

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._began

    def _set_epoch(self, trainer: pl.Trainer) -> None:
        sampler: Any = getattr(self.data.train, "batch_sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(_epochs_done(trainer))


class _Files(CheckpointIO):
    """Lightning's checkpoints in our own format: safetensors and JSON, written atomically."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.checkpoints.save(checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        tree: dict[str, Any] = load(Path(path))
        return tree

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink()


def _trainer(config: Config, watch: _LoopCallback) -> pl.Trainer:
    return pl.Trainer(
        accelerator=config.train.device,
        devices=1,
        precision=config.train.precision,
        min_epochs=0,
        max_epochs=config.train.epochs or -1,
        accumulate_grad_batches=config.train.accumulate,
        limit_val_batches=0,  # an evaluation is one call of the application's, not a loop of the Trainer's
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        plugins=[_Files(watch.checkpoints)],
    )


def _epochs_done(trainer: pl.Trainer) -> int:
    progress: Any = trainer.fit_loop.epoch_progress.current
    return int(progress.processed)


def _steps(data: Data, config: Config) -> int:
    """Number of optimiser steps of the whole training."""
    batches = len(cast(Sized, data.train))  # a loader, see Data
    return (config.train.epochs or UNLIMITED) * math.ceil(batches / config.train.accumulate)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's messages; our observers report the same."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        try:
            yield
        finally:
            logger.setLevel(level)
