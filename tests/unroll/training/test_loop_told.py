"""What the loop tells its observers, and when it evaluates and saves; by a clock that the test moves."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unroll.training import test_loop
from tests.unroll.training.test_health import Broken
from tests.unroll.training.test_loop import EPOCH, STEPS, Log, train
from tests.unroll.training.toy import APP
from unroll.app import Report
from unroll.errors import Notice, UserError
from unroll.interrupt import Interrupted
from unroll.training import loop
from unroll.training.averaging import NTASGD
from unroll.training.checkpoint import Checkpoints
from unroll.training.progress import Position

SIZE = 80
"""of a batch: ten steps of eight rows"""


class All(Log):
    """Keeps everything that it is told."""

    def __init__(self, stop_at: int = 0) -> None:
        super().__init__(stop_at)
        self.steps: list[tuple[Position, float, Mapping[str, float]]] = []
        self.judged: list[tuple[Position, Mapping[str, float], bool]] = []
        self.saved: list[int] = []

    def step(self, at: Position, size: float, metrics: Mapping[str, float]) -> None:
        self.steps.append((at, size, metrics))
        super().step(at, size, metrics)

    def evaluated(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        self.judged.append((at, metrics, best))

    def saving(self) -> None:
        self.saved.append(len(self.losses))


class Clock:
    """Seconds that pass in a step, and while a batch is made."""

    def __init__(self) -> None:
        self.now = 1e6

    def monotonic(self) -> float:
        return self.now

    def step(self, model: Any, batch: Any, state: Any) -> Any:
        self.now += 9.0
        return APP.step(model, batch, state)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def waiting(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One second passes for each batch that is fetched."""
    make = test_loop.data

    def data(config: Any, store: Any) -> Any:
        made = make(config, store)
        collate = made.train.collate_fn

        def slow(rows: Any) -> Any:
            clock.now += 1.0
            return collate(rows)

        made.train.collate_fn = slow
        return made

    monkeypatch.setattr(test_loop, "data", data)


def test_positions_sizes_and_numbers_of_every_step(tmp_path: Path) -> None:
    def step(model: Any, batch: Any, state: Any) -> Any:
        return replace(APP.step(model, batch, state), logs={"extra": torch.tensor(2.0)})

    log = All()
    train(tmp_path, log=log, app=replace(APP, step=step))
    assert [at.step for at, _, _ in log.steps] == list(range(1, STEPS + 1))
    assert [at.epoch for at, _, _ in log.steps] == [1 + step // EPOCH for step in range(STEPS)]
    assert [at.share for at, _, _ in log.steps] == [step / STEPS for step in range(1, STEPS + 1)]
    assert {(at.epochs, size, metrics["train/extra"]) for at, size, metrics in log.steps} == {(3, SIZE, 2.0)}
    assert [(at.step, at.epoch, at.share) for at, _, _ in log.judged] == [(6, 1, 1 / 3), (12, 2, 2 / 3), (18, 3, 1.0)]
    assert all(set(metrics) == {"val/mse"} for _, metrics, _ in log.judged)


def test_the_size_of_a_step_is_that_of_all_its_batches(tmp_path: Path) -> None:
    log = All()
    train(tmp_path, ("train.accumulate=4", "train.epochs=2"), log=log)
    assert [size for _, size, _ in log.steps] == [4 * SIZE, 2 * SIZE] * 2
    assert [at.share for at, _, _ in log.steps] == [0.25, 0.5, 0.75, 1.0]


def test_the_batches_of_a_skipped_step_are_not_counted(tmp_path: Path) -> None:
    log = All()
    with pytest.warns(Notice):
        train(tmp_path, ("train.epochs=1",), log=log, app=Broken(float("nan"), {2}).app)
    assert [size for _, size, _ in log.steps] == [SIZE] * 5
    assert log.steps[-1][2]["train/skipped_steps"] == 1


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        (("train.epochs=5", "train.evaluate_every=2"), [2, 4, 5]),
        (("train.epochs=4", "train.evaluate_every=2"), [2, 4]),
        (("train.epochs=2", "train.evaluate_every=5"), [2]),
        (("train.epochs=0", "train.minutes=1.5", "train.evaluate_every=50"), [2]),
    ],
)
def test_it_is_evaluated_every_so_often_and_in_the_end(
    settings: tuple[str, ...], epochs: list[int], tmp_path: Path, clock: Clock
) -> None:
    """Nine seconds a step: the ninety of the last case end in the fourth step of the second epoch."""
    log = All()
    train(tmp_path, settings, log=log, app=replace(APP, step=clock.step))
    assert [at.epoch for at, _, _ in log.judged] == epochs


def test_the_best_evaluations_are_told_as_such(tmp_path: Path) -> None:
    scores = iter([3.0, 2.0, 2.5])
    log = All()
    train(tmp_path, log=log, app=replace(APP, evaluate=lambda *_: Report({"mse": next(scores)}, [], "mse")))
    assert [best for _, _, best in log.judged] == [True, True, False]


def test_the_clock_moves_share_schedule_and_costs(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two minutes of steps that take ten seconds, one of them for the batch: it ends with the twelfth."""
    waiting(clock, monkeypatch)
    log = All()
    settings = ("train.epochs=100", "train.minutes=2", "optimizer.schedule=linear", "optimizer.lr=1e-3")
    fitted, _, _ = train(tmp_path, settings, log=log, app=replace(APP, step=clock.step))
    assert fitted.stopped == "minutes" and fitted.position.step == 12
    assert [at.seconds for at, _, _ in log.steps] == [10.0 * step for step in range(1, 13)]
    # A step knows the time of the one before it: the clock is looked at when it is over.
    assert [at.share for at, _, _ in log.steps[2:]] == pytest.approx([step / 12 for step in range(2, 12)], abs=0.01)
    assert fitted.position.share == 1.0
    assert log.rates[8] < log.rates[4] < 1e-3
    assert {metrics["train/data_wait"] for _, _, metrics in log.steps} == {0.1}
    found = fitted.costs.metrics()
    assert found["train/total_per_second"] == SIZE / 10.0 and found["train/total_data_wait"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("minutes", "saved"), [("0.5", [4, 6, 10, 12, 16, 18]), ("0.45", [4, 6, 10, 12, 16, 18]), ("5", [6, 12, 18])]
)
def test_a_checkpoint_is_written_every_so_many_minutes_and_after_an_epoch(
    minutes: str, saved: list[int], tmp_path: Path, clock: Clock
) -> None:
    log = All()
    train(tmp_path, (f"train.checkpoint_minutes={minutes}",), log=log, app=replace(APP, step=clock.step))
    assert log.saved == saved


def test_time_goes_on_after_an_interruption(tmp_path: Path, clock: Clock) -> None:
    app, log = replace(APP, step=clock.step), All(stop_at=4)
    with pytest.raises(Interrupted):
        train(tmp_path, log=log, app=app)
    clock.now += 1e5
    again = All()
    fitted, _, _ = train(tmp_path, log=again, app=app, resume=True)
    seconds = [at.seconds for at, _, _ in (*log.steps, *again.steps)]
    assert seconds == [9.0 * step for step in range(1, STEPS + 1)] and fitted.position.seconds == 9.0 * STEPS


def test_every_epoch_has_its_own_order(tmp_path: Path) -> None:
    first: list[float] = []

    def step(model: Any, batch: Any, state: Any) -> Any:
        first.append(float(batch[0][0, 0, 0]))
        return APP.step(model, batch, state)

    train(tmp_path, app=replace(APP, step=step))
    assert len({tuple(first[begin : begin + EPOCH]) for begin in range(0, STEPS, EPOCH)}) == 3


def test_the_mean_of_the_weights_is_evaluated_and_not_trained_on(tmp_path: Path) -> None:
    _, _, plain = train(tmp_path / "a")
    _, _, mean = train(tmp_path / "b", ("optimizer.average=0.9",))
    assert mean.losses == plain.losses
    assert all(mean.evaluations[epoch] != plain.evaluations[epoch] for epoch in plain.evaluations)


def test_an_optimiser_that_waits_for_scores_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(NTASGD, "observe_score", lambda self, score, better: seen.append(score))
    _, _, log = train(tmp_path, ("optimizer.name=ntasgd", "optimizer.schedule=constant"))
    assert seen == list(log.evaluations.values()) and len(seen) == 3


@pytest.mark.parametrize(("bad", "error"), [(1, UserError), (2, ValueError)])
def test_only_before_its_first_step_is_a_checkpoint_to_blame(bad: int, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path, log=Log(stop_at=2))
    calls = iter(range(1, 99))

    def step(model: Any, batch: Any, state: Any) -> Any:
        if next(calls) == bad:
            raise ValueError("sizes do not match\nat all")
        return APP.step(model, batch, state)

    with pytest.raises(error) as caught:
        train(tmp_path, app=replace(APP, step=step), resume=True)
    if bad == 1:
        last = Checkpoints(tmp_path).last
        assert str(caught.value) == f"{last}: malformed, or of another model (ValueError: sizes do not match)"


def test_lightning_is_quiet_only_meanwhile(tmp_path: Path) -> None:
    logger = logging.getLogger("lightning.pytorch")
    before, seen = logger.level, []

    def step(model: Any, batch: Any, state: Any) -> Any:
        seen.append(logger.level)
        return APP.step(model, batch, state)

    train(tmp_path, ("train.epochs=1",), app=replace(APP, step=step))
    assert set(seen) == {logging.ERROR} and logger.level == before
