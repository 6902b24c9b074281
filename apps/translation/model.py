"""The translator: the network, and everything else from a sentence to its translation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unroll.sequence.attention import Memory
from unroll.sequence.losses import linear_surprisal
from unroll.sequence.tokens import Tokeniser

from .data import NOTHING
from .network import EncoderDecoder, Writing
from .options import Decoding


class Translator(EncoderDecoder):
    """A recurrent encoder-decoder with attention, from a sentence to its translation.

    It holds everything that takes, so that saved weights and facts are enough.

    Args:
        source, target: the tokenisers; the target's `first` precedes and follows each translation.
        languages: from which into which.
        smoothing: label smoothing.
        scheduled: fraction of the decoder's inputs that are the model's own predictions (Mihaylova and Martins 2019:
            from a first pass over the true ones, so that training still needs no loop).
        longest: maximum number of tokens in a source sentence.
        decoding: how translations are decoded.
        headline: the metric that comes first in reports.
        options: of `EncoderDecoder`.
    """

    def __init__(
        self, source: Tokeniser, target: Tokeniser, languages: Sequence[str], *, smoothing: float = 0.0,
        scheduled: float = 0.0, longest: int = 200, decoding: Decoding | None = None,
        headline: str = "bleu", **options: Any,
    ) -> None:  # fmt: skip
        super().__init__((len(source), len(target)), **options)
        self.source, self.target = source, target
        self.languages: tuple[str, str] = (languages[0], languages[1])
        self.longest, self.decoding, self.headline = longest, decoding or Decoding(), headline
        self.smoothing, self.scheduled = smoothing, scheduled

    @property
    def end(self) -> int:
        """The token before and after each translation."""
        return self.target.first

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The states r before the output layer, [T, B, E], and the attention weights, [T, B, S], of given texts.

        Args:
            source: [S, B]; lengths: [B]; inputs: `end`, then the translation, [T, B].
        """
        memory, state = self.begin(source, lengths)
        if self.training and self.scheduled:
            inputs = self._guessed(inputs, memory, state)
        return self.write(inputs, memory, state)

    def loss(self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the targets [T, B] that are not NOTHING, in nats."""
        joined, _ = self(source, lengths, inputs)
        return self.output.loss(joined.flatten(0, 1), targets.flatten(), self.smoothing)

    def forced(self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The log probability of each token of given translations, [T, B]; zero beyond their ends."""
        joined, _ = self(source, lengths, inputs)
        inside = targets != NOTHING
        surprisal = linear_surprisal(joined[inside], self.output.weight, self.output.bias, targets[inside])
        return torch.zeros(targets.shape, device=targets.device).masked_scatter(inside, -surprisal)

    @torch.no_grad()
    def _guessed(self, inputs: Tensor, memory: Memory, state: Writing) -> Tensor:
        """The inputs, with some tokens replaced by what the model predicts there."""
        joined, _ = self.write(inputs, memory, state)
        chosen = torch.rand(inputs[1:].shape, device=inputs.device) < self.scheduled
        guesses = nn.functional.linear(joined[:-1][chosen], self.output.weight, self.output.bias).argmax(-1)
        return torch.cat((inputs[:1], inputs[1:].masked_scatter(chosen, guesses)))
