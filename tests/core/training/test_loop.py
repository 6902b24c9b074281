"""fit: the same bits after a restart, the best weights at the end, the truth about why it stopped."""

import os
import signal
from typing import Any

import pytest
import torch

from core.interrupt import Interrupted
from core.training.loop import fit
from tests.core.training.toy import APP, data

STEPS, EPOCH = 18, 6


class Log:
    """Keeps what the loop tells."""

    def __init__(self, stop_at: int = 0, stop_in_evaluation: int = 0) -> None:
        self.losses: dict[int, float] = {}
        self.evaluations: dict[int, float] = {}
        self.stop_at = stop_at

    def step(self, at: Any, size: float, metrics: Any) -> None:
        self.losses[at.step] = metrics["train/loss"]
        if at.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    def evaluated(self, at: Any, metrics: Any, best: bool) -> None:
        self.evaluations[at.epoch] = metrics["val/mse"]

    def saved(self) -> None:
        pass


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
