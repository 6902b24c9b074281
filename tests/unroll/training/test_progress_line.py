"""The line of a training under way: smoothed numbers, the time that is left, a line for each evaluation."""

from dataclasses import replace

import pytest

from tests.unroll.training.toy import APP
from unroll.training import progress_line
from unroll.training.progress import Position
from unroll.training.progress_line import ProgressLine


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_line, "time", clock)
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(progress_line, "say", lines.append)
    return lines


def at(share: float, seconds: float, epochs: int = 2) -> Position:
    return Position(step=1, epoch=1, epochs=epochs, share=share, seconds=seconds)


def shown(line: ProgressLine) -> tuple[float, str]:
    [task] = line._progress.tasks
    return task.completed, task.description


def test_loss_and_throughput_are_smoothed_and_the_rest_is_estimated(clock: Clock, said: list[str]) -> None:
    line = ProgressLine(replace(APP, unit="clicks"))
    clock.now += 2.0
    line.step(at(0.1, 10.0), 10.0, {"train/loss": 1.0})
    assert shown(line) == (0.1, "epoch 1/2  loss 1.0000  mse -  5 clicks/s  ? left")
    clock.now += 1.0
    line.step(at(0.3, 20.0), 25.0, {"train/loss": 3.0})
    assert shown(line) == (0.3, "epoch 1/2  loss 1.1000  mse -  6 clicks/s  0:35 left")
    clock.now += 100.0
    line.evaluated(at(0.3, 30.0), {"val/mse": 0.12345}, best=False)
    clock.now += 1.0
    line.step(at(0.5, 40.0, epochs=0), 26.0, {"train/loss": 1.1})
    assert shown(line) == (0.5, "epoch 1  loss 1.1000  mse 0.1235  7 clicks/s  0:38 left")


def test_an_evaluation_is_a_line_that_stays(clock: Clock, said: list[str]) -> None:
    line = ProgressLine(APP)
    line.evaluated(at(0.0, 61.0), {"val/mse": 2.0}, best=True)
    line.step(at(0.1, 70.0), 1.0, {"train/loss": 0.5})
    more = {f"val/{name}": 1.0 for name in "abc"}
    line.evaluated(at(0.2, 71.0, epochs=0), {"val/mse": 3.0, **more}, best=False)
    assert said == [
        "epoch   1/2     1:01  loss -  val/mse 2  best",
        "epoch   1     1:11  loss 0.5000  val/mse 3  val/a 1  val/b 1",
    ]


def test_it_is_drawn_from_beginning_to_end() -> None:
    line = ProgressLine(APP)
    with line as same:
        assert same is line and line._progress.live.is_started
    assert not line._progress.live.is_started
