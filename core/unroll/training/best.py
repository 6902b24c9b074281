"""The best evaluation so far: the one with the best score; of equal scores, the lower validation loss; of
equal losses, the later one.

On a small validation split the score is soon as good as it can be, while the model is still learning: the first of many
equal scores would be that of a model that was lucky.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from unroll.app import App
from unroll.errors import UserError, noted
from unroll.training.checkpoint import Checkpoints, load
from unroll.training.evaluation import mean_loss

KEPT = ("score", "epoch", "loss", "without_gain")


class Best:
    """The best evaluation of a training run, and the number of evaluations since.

    Args:
        app: for its score, and its step, whose loss decides between equal scores.
        val: gives the batches of the validation split; asked for only where scores are equal.
        checkpoints: where the best weights are kept.
    """

    def __init__(self, app: App, val: Callable[[], Iterable[Any]], checkpoints: Checkpoints) -> None:
        self.app, self.val, self.checkpoints = app, val, checkpoints
        self.score: float | None = None
        self.epoch = 0
        self.loss: float | None = None
        """of the best weights on the validation split; None where nothing has equalled their score yet"""
        self.without_gain = 0

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in KEPT:
            setattr(self, name, state[name])

    def update(self, model: nn.Module, score: float, epoch: int) -> bool:
        """Keep the weights of `model` if they are the best so far, and return whether they are."""
        if not self._beaten(model, score):
            self.without_gain += 1
            return False
        self.score, self.epoch, self.without_gain = score, epoch, 0
        self.checkpoints.save_best({"weights": model.state_dict(), "score": score, "epoch": epoch})
        return True

    def restore(self, model: nn.Module) -> None:
        """Load the best weights into `model`. Raises UserError if their file is damaged or belongs to another model."""
        path = self.checkpoints.best
        weights = load(path, "weights")["weights"]
        try:
            model.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:
            raise UserError(f"{path}: malformed, or of another model ({str(error).splitlines()[0]})") from error

    def _beaten(self, model: nn.Module, score: float) -> bool:
        if score != self.score:
            self.loss = None if (better := self.app.score.better(score, self.score)) else self.loss
            return better
        if self.loss is None:
            self.loss = self._loss_of_the_best(model)
        loss = self._loss(model)
        if not loss <= self.loss and not math.isnan(self.loss):
            return False
        self.loss = loss
        return True

    def _loss_of_the_best(self, model: nn.Module) -> float:
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.restore(model)
        try:
            return self._loss(model)
        finally:
            model.load_state_dict(own)

    def _loss(self, model: nn.Module) -> float:
        """NaN if the application's step does not accept these batches; of equal scores the later is then kept."""
        with noted(f"{self.app.name}: loss on the validation split, which decides between equal scores"):
            return mean_loss(self.app, model, self.val())
        return math.nan
