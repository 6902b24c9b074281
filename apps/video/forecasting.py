"""What comes next in a clip, frame by frame. Frames are [T, B, C, Y, X] with values from 0 to 1."""

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
    """The next frames: a convolutional recurrent network reads the past, then continues with its own predictions.

    An encoder-forecaster (Shi et al. 2015, "Convolutional LSTM network"), both parts with the same weights. At each
    step it reads the last two frames, which show what moves where. It does not draw a frame from nothing: each pixel is
    a weighted mean of the last frame's pixels around it, with weights chosen for each pixel (Jia et al. 2016,
    "Dynamic filter networks"), plus a change. So what moves stays sharp, and what rests costs nothing.

    Args:
        channels, size, every: of `Network`.
        context: frames of the past that it is trained on.
        horizon: how many it predicts.
        cell: a convolutional one: convlstm or convgru.
        hidden, layers: of `unroll.recurrence.Recurrent`.
        patch: size in pixels of what is one place of the maps; divides size.
        reach: pixels that a thing may move from frame to frame.
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
        with torch.no_grad():  # it begins by copying: the filters' middle has most of the weight
            last.weight.mul_(0.3)
        begin = torch.zeros(last.out_channels)
        begin[filters // 2 * patch**2 :][: patch**2] = 2.0
        last.bias = nn.Parameter(begin)

    def forward(self, frames: Tensor, horizon: int, state: Any = None) -> tuple[Tensor, Any]:
        """What comes after each frame: seen frames [T, B, C, Y, X] -> predictions [T - 1 + horizon, B, C, Y, X].

        Prediction number i is of frame i + 1. The first T are made from frames seen, the others from predictions.

        Returns:
            the predictions, and the state after the frames seen: with it, the next of them may follow.
        """
        predicted, state = seen = self._next(frames, state)
        future = [predicted[-1:]]
        for _ in range(horizon - 1):
            # Without their gradient: each step learns to go on from what is there, be it as it may. Through a chain of
            # predictions the gradient is noise that keeps the network from learning motion (see the README).
            following, state = self._next(future[-1].detach(), state)
            future.append(following)
        return torch.cat([predicted[:-1], *future]), seen[1]

    def predict(self, frames: Tensor) -> Tensor:
        """The `horizon` frames after the first `context` of [T, B, C, Y, X], as values that a picture can have."""
        predicted, _ = self(frames[: self.context], self.horizon)
        values: Tensor = predicted[self.context - 1 :].clamp(0, 1)
        return values

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of all predictions.

        The more frames are seen, the sooner is it learnt what moves where; the fewer, the better to live with its own
        predictions. In training their number is redrawn for each batch.
        """
        count = len(batch.frames)
        seen = int(torch.randint(self.context, count, ())) if self.training else self.context
        predicted, _ = self(batch.frames[:seen], count - seen)
        return F.mse_loss(predicted, batch.frames[1:])

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """The errors of predicted frames, in all and at each step of the horizon."""
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
        """Predictions of what follows on each of `frames`, and the state: the recurrent one and the last frame."""
        memory, before = state or (None, frames[:1])
        pairs = torch.cat([torch.cat([before, frames[:-1]]), frames], 2)
        maps, memory = self.recurrent(self.read(pairs.flatten(0, 1)).unflatten(0, frames.shape[:2]), memory)
        return self._moved(frames, maps), (memory, frames[-1:])

    def _moved(self, frames: Tensor, maps: Tensor) -> Tensor:
        """The frames filtered and changed as the hidden maps [T, B, H, Y / patch, X / patch] say."""
        flat, written = frames.flatten(0, 1), self.write(maps.flatten(0, 1))
        weights, change = written[:, : -self.channels].softmax(1), written[:, -self.channels :]
        around = F.unfold(F.pad(flat, (self.reach,) * 4, mode="replicate"), 2 * self.reach + 1)
        around = around.view(len(flat), self.channels, -1, *flat.shape[-2:])
        moved: Tensor = (weights[:, None] * around).sum(2) + change
        return moved.view_as(frames)
