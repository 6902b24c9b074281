"""Two networks over frames: one names what happens in a clip, one continues it.

Frames are [T, B, C, Y, X], values from 0 to 1, C one channel (grey) or three.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent


class FrameEncoder(nn.Sequential):
    """A small convolutional network, frame by frame: [N, C, Y, X] -> [N, features].

    Three convolutions of stride 2; the last map is flattened, not averaged, so that places are not lost.

    Args:
        channels: C.
        size: Y = X, in pixels.
        width: channels of the first convolution; the others have twice as many.
        features: of a frame.
    """

    def __init__(self, channels: int, size: int, width: int, features: int) -> None:
        widths = (channels, width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            # Normalised within a frame, not over a batch: a frame alone gives what it gives in a batch.
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        side = -(-size // 8)
        super().__init__(*layers, nn.Flatten(), nn.Linear(2 * width * side * side, features), nn.ReLU())


class Classifier(nn.Module):
    """What happens in a clip: a convolutional network for each frame, a recurrent one over their features.

    The recurrent network has one direction and the answer is read from its last step, so after every frame there is
    an answer for the clip so far: see `watch`.

    Args:
        classes: their names.
        channels, size, width: of `FrameEncoder`.
        cell, hidden, layers: of `unroll.recurrence.Recurrent`.
        dropout: share of features dropped before each recurrent layer and before the output.
        every: read one frame of a video in this many.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        channels: int,
        size: int,
        width: int = 16,
        cell: str = "gru",
        hidden: int = 96,
        layers: int = 1,
        dropout: float = 0.0,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.classes, self.channels, self.size, self.every = tuple(classes), channels, size, every
        self.encoder = FrameEncoder(channels, size, width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = Recurrent(cell, hidden, hidden, layers, dropout=dropout)
        self.output = nn.Linear(self.recurrent.output_size, len(classes))

    def forward(self, frames: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Frames [T, B, C, Y, X], or the next of them with the state that the last call gave, lengths [B].

        Returns:
            logits of the clip so far after each frame, [T, B, classes], and the state.
        """
        features = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        states, state = self.recurrent(self.dropout(features), state, lengths=lengths)
        return self.output(self.dropout(states)), state


def watch(model: Classifier, frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """After each frame [C, Y, X], the probabilities [classes] for the clip so far.

    Each frame costs the same, however many came before: only the recurrent state is carried.
    """
    state = None
    for frame in frames:
        logits, state = model(frame[None, None], state=state)
        yield logits[0, 0].softmax(-1)


class Forecaster(nn.Module):
    """The next frames: a convolutional recurrent network reads the past, then continues with its own predictions.

    An encoder-forecaster (Shi et al. 2015, "Convolutional LSTM network"), both parts with the same weights. At each
    step it reads the last two frames, which show what moves where. It does not draw a frame from nothing: each pixel is
    a weighted mean of the last frame's pixels around it, with weights chosen for each pixel (Jia et al. 2016,
    "Dynamic filter networks"), plus a change. So what moves stays sharp, and what rests costs nothing.

    Args:
        channels, size: of the frames.
        context: frames of the past that it is trained on.
        horizon: how many it predicts.
        cell: a convolutional one: convlstm or convgru.
        hidden, layers: of `unroll.recurrence.Recurrent`.
        patch: size in pixels of what is one place of the maps; divides size.
        reach: pixels that a thing may move from frame to frame.
        every: read one frame of a video in this many.
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
        super().__init__()
        self.channels, self.size, self.every = channels, size, every
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
