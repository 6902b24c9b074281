"""Predicting the next frames of a clip. Frames are [T, B, C, Y, X] with values from 0 to 1."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.app import Mean, Report
from unroll.recurrence import Recurrent

from .data import Batch
from .metrics import MEASURES, SIGNATURE, Errors, errors, totals
from .model import Network


class Forecaster(Network):
    """A convolutional recurrent network that reads the input frames, then continues from its own predictions.

    An encoder-forecaster (Shi et al. 2015, "Convolutional LSTM network") whose two parts share their weights. At each
    step it reads the last two frames, which show how things move. It does not generate frames from scratch: each pixel
    is a weighted mean of the pixels around it in the last frame, with weights predicted for each pixel (Jia et al.
    2016, "Dynamic filter networks"), plus a change. So moving objects stay sharp, and a static background is free.

    Args:
        channels, size, every: of `Network`.
        context: number of input frames.
        horizon: number of frames to predict.
        cell: a convolutional one: convlstm or convgru.
        hidden, layers: of `unroll.recurrence.Recurrent`.
        patch: side, in pixels, of the patch that is one position of the hidden maps; divides size.
        reach: maximum motion, in pixels, between two frames.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        context: int,
        horizon: int,
        cell: str = "convgru",
        hidden: int = 32,
        layers: int = 1,
        patch: int = 2,
        reach: int = 2,
        every: int = 1,
    ) -> None:
        super().__init__(channels=channels, size=size, every=every)
        self.context, self.horizon, self.reach = context, horizon, reach
        self.read = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(2 * channels * patch**2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
        )
        self.recurrent = Recurrent(cell, hidden, hidden, layers)
        filters = (2 * reach + 1) ** 2
        last = nn.Conv2d(hidden, (filters + channels) * patch**2, 3, padding=1)
        self.write = nn.Sequential(last, nn.PixelShuffle(patch))
        with torch.no_grad():  # starts by copying: most of the weight is in the centre of the filters
            last.weight.mul_(0.3)
        begin = torch.zeros(last.out_channels)
        begin[filters // 2 * patch**2 :][: patch**2] = 2.0
        last.bias = nn.Parameter(begin)

    def forward(self, frames: Tensor, horizon: int, state: Any = None) -> tuple[Tensor, Any]:
        """The frame after each one: input frames [T, B, C, Y, X] -> predictions [T - 1 + horizon, B, C, Y, X].

        Prediction i is of frame i + 1. The first T are made from input frames, the others from predictions.

        Returns:
            the predictions, and the state after the input frames, with which a later call may continue.
        """
        predicted, state = seen = self._next(frames, state)
        future = [predicted[-1:]]
        for _ in range(horizon - 1):
            # Detached: each step learns to continue from whatever is there. Through a chain of predictions the gradient
            # is mostly noise, which keeps the network from learning motion (see the README).
            following, state = self._next(future[-1].detach(), state)
            future.append(following)
        return torch.cat([predicted[:-1], *future]), seen[1]

    def predict(self, frames: Tensor) -> Tensor:
        """The `horizon` frames after the first `context` of [T, B, C, Y, X], clamped to the values of a picture."""
        predicted, _ = self(frames[: self.context], self.horizon)
        values: Tensor = predicted[self.context - 1 :].clamp(0, 1)
        return values

    def loss(self, batch: Batch) -> Tensor:
        """The mean squared error of all predictions.

        With more input frames motion is learnt sooner; with fewer, the network learns to cope with its own predictions.
        In training their number is sampled for each batch.
        """
        count = len(batch.frames)
        seen = int(torch.randint(self.context, count, ())) if self.training else self.context
        predicted, _ = self(batch.frames[:seen], count - seen)
        return F.mse_loss(predicted, batch.frames[1:])

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """The errors of predicted frames, overall and at each step of the horizon."""
        records: list[dict[str, Any]] = []
        parts: list[Errors] = []
        for batch in batches:
            parts.append(errors(self.predict(batch.frames), batch.frames[self.context :]))
            for number, row in enumerate(batch.records):
                own = {name: float(values[:, number].double().mean()) for name, values in parts[-1].items()}
                shown = ", ".join(f"{name} {value:.4g}" for name, value in own.items())
                wanted = f"{self.horizon} frames after {self.context}"
                more = {"group": row["clip"], "score": own["mse"], **own}
                records.append({"id": row["id"], "reference": wanted, "prediction": shown, **more})
        means = {name: Mean(name) for name in MEASURES}
        return Report(totals(parts), records, f"{SIGNATURE}|horizon:{self.horizon}|mean over frames", means)

    def _next(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Predictions of the frame after each one, and the state: the recurrent state and the last frame."""
        memory, before = state or (None, frames[:1])
        pairs = torch.cat([torch.cat([before, frames[:-1]]), frames], 2)
        maps, memory = self.recurrent(self.read(pairs.flatten(0, 1)).unflatten(0, frames.shape[:2]), memory)
        return self._moved(frames, maps), (memory, frames[-1:])

    def _moved(self, frames: Tensor, maps: Tensor) -> Tensor:
        """The frames, filtered and changed according to the hidden maps [T, B, H, Y / patch, X / patch]."""
        flat, written = frames.flatten(0, 1), self.write(maps.flatten(0, 1))
        weights, change = written[:, : -self.channels].softmax(1), written[:, -self.channels :]
        around = F.unfold(F.pad(flat, (self.reach,) * 4, mode="replicate"), 2 * self.reach + 1)
        around = around.view(len(flat), self.channels, -1, *flat.shape[-2:])
        moved: Tensor = (weights[:, None] * around).sum(2) + change
        return moved.view_as(frames)
