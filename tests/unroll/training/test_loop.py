"""fit: bitwise the same after a restart, the best weights at the end, the true reason for stopping."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unroll.training.toy import APP, data
from unroll.app import Report
from unroll.errors import Notice, UserError
from unroll.interrupt import Interrupted
from unroll.training.checkpoint import Checkpoints, load, save
from unroll.training.loop import fit
from unroll.training.progress import Observer

STEPS, EPOCH = 18, 6


class Log(Observer):
    """Keeps what the loop tells."""

    def __init__(self, stop_at: int = 0) -> None:
        self.losses: dict[int, float] = {}
        self.rates: dict[int, float] = {}
        self.norms: dict[int, float] = {}
        self.evaluations: dict[int, float] = {}
        self.stop_at = stop_at

    def step(self, at: Any, size: float, metrics: Any) -> None:
        self.losses[at.step] = metrics["train/loss"]
        self.rates[at.step] = metrics["train/learning_rate"]
        self.norms[at.step] = metrics["train/gradient_norm"]
        if at.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    def evaluated(self, at: Any, metrics: Any, best: bool) -> None:
        self.evaluations[at.epoch] = metrics["val/mse"]


def train(folder: Any, settings: tuple[str, ...] = (), **options: Any) -> tuple[Any, Any, Log]:
    log = options.pop("log", None) or Log()
    app = options.pop("app", APP)
    config = app.config(settings=settings)
    torch.manual_seed(0)
    model = app.model(config, {})
    fitted = fit(app, config, data(config, None), model, folder, [log], **options)
    return fitted, model, log


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: Any) -> tuple[Any, Any, Log]:
    return train(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("stop_at", [1, 4, EPOCH, EPOCH + 1, 2 * EPOCH, STEPS])
def test_resumed_run_gives_the_same_bits(undisturbed: Any, tmp_path: Any, stop_at: int) -> None:
    fitted, model, log = undisturbed
    with pytest.raises(Interrupted):
        train(tmp_path, log=Log(stop_at=stop_at))
    again, model_again, log_again = train(tmp_path, resume=True)
    assert log_again.losses == {step: loss for step, loss in log.losses.items() if step > stop_at}
    assert log_again.evaluations == {e: v for e, v in log.evaluations.items() if e * EPOCH >= stop_at}
    assert again.best == fitted.best and again.position.step == STEPS
    assert same(model, model_again)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_evaluation_loses_nothing(undisturbed: Any, tmp_path: Path, number: int) -> None:
    fitted, model, log = undisturbed
    stopped = Log()

    def evaluate(model: Any, batches: Any) -> Any:
        first = next(batches)
        if len(stopped.evaluations) == 1:  # in the middle of the second evaluation
            os.kill(os.getpid(), number)
        return APP.evaluate(model, [first, *batches])

    with pytest.raises(Interrupted) as caught:
        train(tmp_path, log=stopped, app=replace(APP, evaluate=evaluate))
    assert caught.value.number == number
    again, model_again, log_again = train(tmp_path, resume=True)
    assert log_again.evaluations == {epoch: v for epoch, v in log.evaluations.items() if epoch >= 2}
    assert log_again.losses == {step: v for step, v in log.losses.items() if step > 2 * EPOCH}
    assert same(model, model_again) and again.best == fitted.best


def test_a_killed_run_resumes_from_its_last_checkpoint(undisturbed: Any, tmp_path: Path) -> None:
    """kill -9 in the second epoch: the checkpoint of the first one's end is there, and leads to the same bits."""
    code = f"""
import os, pathlib, sys
from tests.unroll.training.test_loop import Log, train
class Dies(Log):
    def step(self, at, size, metrics):
        os._exit(9) if at.step == {EPOCH + 3} else None
train(pathlib.Path({str(tmp_path)!r}), log=Dies())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    fitted, model, _ = undisturbed
    again, model_again, log_again = train(tmp_path, resume=True)
    assert min(log_again.losses) == EPOCH + 1
    assert same(model, model_again) and again.best == fitted.best


def test_the_carried_state_takes_part(undisturbed: Any, tmp_path: Path) -> None:
    """Without it the losses are others: so the exact resumes above do include it."""
    forgetful = replace(APP, step=lambda model, batch, state: APP.step(model, batch, None))
    _, _, log = train(tmp_path, app=forgetful)
    assert log.losses[1] == undisturbed[2].losses[1]
    assert log.losses[2] != undisturbed[2].losses[2]
    assert log.losses[EPOCH] != undisturbed[2].losses[EPOCH]


def test_the_carried_state_begins_anew_with_each_epoch(tmp_path: Path) -> None:
    """Its last one belongs to the end of the data, not to their beginning."""
    fresh: list[bool] = []

    def step(model: Any, batch: Any, state: Any) -> Any:
        fresh.append(state is None)
        return APP.step(model, batch, state)

    train(tmp_path, app=replace(APP, step=step))
    assert fresh == ([True] + [False] * (EPOCH - 1)) * (STEPS // EPOCH)


def test_accumulated_batches_resume_exactly_too(tmp_path: Path) -> None:
    settings = ("train.accumulate=4",)  # 6 batches are one step of four and one of two
    _, model, log = train(tmp_path / "whole", settings)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", settings, log=Log(stop_at=3))
    _, model_again, log_again = train(tmp_path / "stopped", settings, resume=True)
    assert log_again.losses == {step: loss for step, loss in log.losses.items() if step > 3}
    assert max(log.losses) == 6
    assert same(model, model_again)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """An evaluation that likes the first epoch best: its weights are there in the end, not the last ones."""
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(model: Any, batches: Any) -> Any:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return Report({"mse": float(len(seen))}, [], "mse")

    fitted, model, _ = train(tmp_path, app=replace(APP, evaluate=evaluate))
    assert fitted.best == 1.0 and fitted.best_epoch == 1 and fitted.stopped == "epochs"
    assert all(torch.equal(value, seen[0][name]) for name, value in model.state_dict().items())
    assert not all(torch.equal(value, seen[-1][name]) for name, value in model.state_dict().items())


def test_patience_ends_the_training(tmp_path: Path) -> None:
    scores = iter([3.0, 2.0, 2.5, float("nan"), 1.0])
    app = replace(APP, evaluate=lambda model, batches: Report({"mse": next(scores)}, [], "mse"))
    fitted, _, log = train(tmp_path, ("train.epochs=9", "train.patience=2"), app=app)
    assert fitted.stopped == "patience" and fitted.best == 2.0 and fitted.best_epoch == 2
    assert max(log.losses) == 4 * EPOCH


def test_minutes_end_the_training_within_an_epoch(tmp_path: Path) -> None:
    fitted, _, log = train(tmp_path, ("train.epochs=100000", "train.minutes=0.02"))
    assert fitted.stopped == "minutes"
    assert 1.2 <= fitted.position.seconds < 20
    assert log.evaluations and fitted.position.share == 1.0


def test_plateau_quarters_the_learning_rate(tmp_path: Path) -> None:
    scores = iter([1.0, 2.0, 2.0])
    app = replace(APP, evaluate=lambda model, batches: Report({"mse": next(scores)}, [], "mse"))
    _, _, log = train(tmp_path, ("optimizer.schedule=plateau",), app=app)
    assert log.rates[1] == log.rates[2 * EPOCH] == 1e-2
    assert log.rates[3 * EPOCH] == pytest.approx(1e-2 / 4)


def test_clipping_bounds_the_step_and_tells_the_norm(tmp_path: Path) -> None:
    settings = ("optimizer.name=sgd", "optimizer.lr=1", "optimizer.clip=1e-6", "optimizer.schedule=constant")
    _, model, log = train(tmp_path, (*settings, "train.epochs=1"))
    torch.manual_seed(0)
    fresh = APP.model(APP.config(), {})
    moved = sum(((a - b) ** 2).sum() for a, b in zip(model.parameters(), fresh.parameters(), strict=True)) ** 0.5
    assert moved <= EPOCH * 1e-6 * 1.01
    assert all(norm > 1e-3 for norm in log.norms.values())


def test_a_loss_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    def step(model: Any, batch: Any, state: Any) -> Any:
        done = APP.step(model, batch, state)
        return replace(done, loss=done.loss * float("inf"))

    with pytest.raises(UserError, match=r"^the loss is inf at step 1; lower optimizer\.lr \(now 0\.01\)[^\n]*$"):
        train(tmp_path, ("train.bad_steps=1",), app=replace(APP, step=step))


def test_stopped_before_the_first_checkpoint_it_begins_anew(undisturbed: Any, tmp_path: Path) -> None:
    with pytest.warns(Notice, match=r"stopped before its first checkpoint; the training starts over"):
        _, model, log = train(tmp_path, resume=True)
    assert log.losses == undisturbed[2].losses and same(model, undisturbed[1])


def test_no_checkpoint_is_whole(tmp_path: Path) -> None:
    Checkpoints(tmp_path).last.write_bytes(b"nothing")
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        train(tmp_path, resume=True)


@pytest.mark.parametrize(
    "settings", [("train.epochs=9", "train.patience=1"), ("train.epochs=100000", "train.minutes=0.01")]
)
def test_what_had_ended_does_not_go_on(settings: tuple[str, ...], tmp_path: Path) -> None:
    """Killed after the training, while what follows it is under way: nothing more is trained on a resume."""
    scores = iter(range(1000))
    app = replace(APP, evaluate=lambda model, batches: Report({"mse": float(next(scores))}, [], "mse"))
    fitted, model, _ = train(tmp_path, settings, app=app)
    again, model_again, log = train(tmp_path, settings, app=app, resume=True)
    assert fitted.stopped == again.stopped != "epochs"
    assert not log.losses and not log.evaluations
    assert (again.position.step, again.best) == (fitted.position.step, fitted.best) and same(model, model_again)


def test_the_observers_are_told_before_the_checkpoint_is_there(tmp_path: Path) -> None:
    """Killed in between, the steps are observed again; the other way round they would be lost."""
    last, seen = Checkpoints(tmp_path).last, []

    class Looks(Log):
        def saving(self) -> None:
            seen.append(last.read_bytes() if last.exists() else None)

    train(tmp_path, log=Looks())
    assert seen[0] is None and len(set(seen)) == len(seen) == 3
    assert last.read_bytes() not in seen


def test_a_damaged_checkpoint_is_passed_over_with_a_notice(undisturbed: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, log=Log(stop_at=2 * EPOCH + 1))
    last = Checkpoints(tmp_path).last
    last.write_bytes(last.read_bytes()[:-5])
    with pytest.warns(Notice, match=r"last\.safetensors.*using previous\.safetensors"):
        _, model, log = train(tmp_path, resume=True)
    assert min(log.losses) == 2 * EPOCH + 1
    assert same(model, undisturbed[1])


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tmp_path, ("train.epochs=1",))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: Any) -> Any:
    """The tree of a checkpoint in mid-epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        train(folder, log=Log(stop_at=EPOCH + 2))
    return load(Checkpoints(folder).last)


@pytest.mark.parametrize("other", [..., None, [1], "text", {}], ids=["absent", "None", "list", "text", "empty"])
def test_a_malformed_checkpoint_of_a_right_digest_is_one_line(stopped: Any, tmp_path: Path, other: Any) -> None:
    """Each part of the tree in turn; what is not read may be anything."""
    refused = set()
    for part in stopped:
        folder = tmp_path / part
        folder.mkdir()
        tree = {key: other if key == part else value for key, value in stopped.items()}
        save(Checkpoints(folder).last, {key: value for key, value in tree.items() if value is not ...})
        try:
            train(folder, resume=True)
        except UserError as error:
            refused.add((part, str(folder) in str(error) and "\n" not in str(error)))
    assert all(well_said for _, well_said in refused)
    assert {"state_dict", "callbacks", "loops", "health"} <= {part for part, _ in refused}


def test_a_checkpoint_that_is_no_tree_is_one_line(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path).last, [1, 2])
    with pytest.raises(UserError, match="malformed"):
        train(tmp_path, resume=True)
