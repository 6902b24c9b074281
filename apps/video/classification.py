"""Classifying clips, with an answer after every frame. Frames are [T, B, C, Y, X] with values from 0 to 1."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unroll.app import Mean, Report
from unroll.recurrence import Recurrent
from unroll.sequence.pooling import last

from .data import Batch
from .model import Network

SHARES = {"accuracy": Mean("score", share=True), "accuracy_at_half": Mean("score_at_half", share=True)}


class FrameEncoder(nn.Sequential):
    """A small convolutional network, frame by frame: [N, C, Y, X] -> [N, features].

    Three convolutions of stride 2; the last map is flattened, not averaged, so that positions are kept.

    Args:
        channels: C.
        size: Y = X, in pixels.
        width: channels of the first convolution; the others have twice as many.
        features: size of the output.
    """

    def __init__(self, channels: int, size: int, width: int, features: int) -> None:
        widths = (channels, width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            # Normalised within a frame, not over the batch: a frame gives the same result alone and in a batch.
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        side = -(-size // 8)
        super().__init__(*layers, nn.Flatten(), nn.Linear(2 * width * side * side, features), nn.ReLU())


class Classifier(Network):
    """A convolutional network for each frame, and a recurrent one over their features.

    The recurrent network is unidirectional and the prediction is read from its last step, so there is one for the clip
    so far after every frame: see `watch`.

    Args:
        classes: names of the classes.
        channels, size, every: of `Network`.
        width: of `FrameEncoder`.
        cell, hidden, layers: of `unroll.recurrence.Recurrent`.
        dropout: dropout rate before each recurrent layer and before the output.
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
        super().__init__(channels=channels, size=size, every=every)
        self.classes = tuple(classes)
        self.encoder = FrameEncoder(channels, size, width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = Recurrent(cell, hidden, hidden, layers, dropout=dropout)
        self.output = nn.Linear(self.recurrent.output_size, len(classes))

    def forward(self, frames: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Frames [T, B, C, Y, X] with lengths [B]; or the next ones of each clip, with the state of the call before.

        Returns:
            logits for the clip so far after each frame, [T, B, classes], and the state.
        """
        features = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        states, state = self.recurrent(self.dropout(features), state, lengths=lengths)
        return self.output(self.dropout(states)), state

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the predictions in the second half of a clip, so that its class is known before the end."""
        logits, _ = self(batch.frames, batch.lengths)
        steps = torch.arange(len(logits), device=logits.device)[:, None]
        lengths = batch.lengths.to(logits.device)
        counts = ((steps >= lengths // 2) & (steps < lengths)).float()
        labels = batch.labels.repeat(len(logits))
        values = nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="none")
        return (values.view_as(counts) * counts).sum() / counts.sum()

    def evaluate(self, batches: Iterable[Batch]) -> Report:
        """Accuracy after the last frame, and after half of the frames."""
        records = [record for batch in batches for record in self._answers(batch)]
        return Report.of_means(records, "accuracy|after the last frame|at half: after half of the frames", SHARES)

    def _answers(self, batch: Batch) -> Iterator[dict[str, Any]]:
        logits, _ = self(batch.frames, batch.lengths)
        sure, answers = last(logits, batch.lengths).softmax(-1).max(-1)
        half = last(logits, (batch.lengths + 1) // 2).argmax(-1)
        for row, *(answer, probability, early) in zip(batch.records, answers, sure, half, strict=True):
            yield {
                "id": row["id"], "reference": row["label"], "prediction": self.classes[answer],
                "score": float(self.classes[answer] == row["label"]), "probability": round(float(probability), 4),
                "score_at_half": float(self.classes[early] == row["label"]), "group": row["clip"],
            }  # fmt: skip


def watch(model: Classifier, frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """After each frame [C, Y, X], the probabilities [classes] for the clip so far.

    Each frame costs the same, however many came before: only the recurrent state is carried.
    """
    state = None
    for frame in frames:
        logits, state = model(frame[None, None], state=state)
        yield logits[0, 0].softmax(-1)
