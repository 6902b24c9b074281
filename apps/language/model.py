"""The language model: embedding, recurrent layers, an output layer over the vocabulary."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.recurrence.dropout import mask_like
from unroll.sequence.losses import AdaptiveSoftmax, MixtureOfSoftmaxes, Softmax
from unroll.sequence.tokens import Tokeniser

from .options import Adaptation, Generation


class LanguageModel(nn.Module):
    """p(next token | all before), with the past in the carried state.

    It holds everything from text to text, so that saved weights and facts are enough for generation.

    Args:
        tokeniser: the symbols, most frequent first.
        cell, hidden, layers, weight_drop: of `unroll.recurrence.Recurrent`.
        embedding: size of a token embedding; 0: the same as hidden.
        tied: the output weights are the embedding's (Press and Wolf 2017; Inan et al. 2017).
        dropout, dropout_input, dropout_output: between layers, on the embedding, on the last layer (Zaremba et al.
            2014); with `locked` one mask for all steps (Gal and Ghahramani 2016).
        dropout_words: fraction of the vocabulary dropped for a window (Gal and Ghahramani 2016).
        activation, slowness: weights of AR and TAR (Merity, McCann and Socher 2017).
        mixtures, cutoffs: the kind of output layer, see `unroll.sequence.losses`.
        init: all weights start uniform in +-init; 0: each layer's default.
        generation: how `predict` generates text.
        adaptation: how `evaluate` adapts to the text, see `unroll.apps.language.adapt`.
    """

    def __init__(
        self,
        tokeniser: Tokeniser,
        *,
        cell: str = "lstm",
        hidden: int = 256,
        layers: int = 1,
        embedding: int = 0,
        tied: bool = True,
        dropout: float = 0.0,
        dropout_input: float = 0.0,
        dropout_output: float = 0.0,
        dropout_words: float = 0.0,
        locked: bool = False,
        weight_drop: float = 0.0,
        activation: float = 0.0,
        slowness: float = 0.0,
        mixtures: int = 1,
        cutoffs: tuple[int, ...] = (),
        init: float = 0.0,
        generation: Generation | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        super().__init__()
        self.tokeniser = tokeniser
        self.generation, self.adaptation = generation or Generation(), adaptation or Adaptation()
        self.dropout_input, self.dropout_output, self.dropout_words = dropout_input, dropout_output, dropout_words
        self.locked, self.activation, self.slowness = locked, activation, slowness
        embedding = embedding or hidden
        sizes = [hidden] * layers if not tied else [*[hidden] * (layers - 1), embedding]
        self.embedding = nn.Embedding(len(tokeniser), embedding)
        self.recurrent = Recurrent(
            cell, embedding, sizes, layers, weight_drop=weight_drop,
            dropout=0.0 if locked else dropout, variational=(0.0, dropout if locked else 0.0, 0.0),
        )  # fmt: skip
        weight = self.embedding.weight if tied else nn.Parameter(torch.empty(len(tokeniser), sizes[-1]))
        self.output = _output(weight, sizes[-1], mixtures, cutoffs)
        self._initialise(init)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Tokens [T, B] -> hidden vectors [T, B, H], before the dropout of the output, and the state."""
        hidden, state = self.recurrent(self._embed(tokens), state)
        return hidden, state

    def loss(self, tokens: Tensor, targets: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        """(loss to minimise, mean surprisal in nats, state) of a window [T, B]; both are means over its tokens."""
        raw, state = self(tokens, state)
        dropped = self._dropped(raw, self.dropout_output)
        surprisal = self.output.loss(dropped.flatten(0, 1), targets.flatten())
        total = surprisal
        if self.activation:
            total = total + self.activation * dropped.pow(2).mean()
        if self.slowness and len(raw) > 1:
            total = total + self.slowness * (raw[1:] - raw[:-1]).pow(2).mean()
        return total, surprisal, state

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token of each row, [B], -> log probabilities of the next, [B, V], and the state; for decoding."""
        hidden, state = self.recurrent.step(self._embed(tokens), state)
        return self.output.log_probs(hidden), state

    def _embed(self, tokens: Tensor) -> Tensor:
        weight = self.embedding.weight
        if self.training and self.dropout_words:
            weight = weight * mask_like(weight[:, :1], self.dropout_words)
        return self._dropped(F.embedding(tokens, weight), self.dropout_input)

    def _dropped(self, x: Tensor, p: float) -> Tensor:
        if not self.training or not p:
            return x
        return x * mask_like(x[0], p) if self.locked else F.dropout(x, p)

    def _initialise(self, bound: float) -> None:
        if bound:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -bound, bound)
            return
        # Small, so that tied output weights start with nearly equal probabilities (AWD-LSTM: 0.1).
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        if self.output.weight is not self.embedding.weight:
            nn.init.uniform_(self.output.weight, -0.1, 0.1)


def _output(
    weight: Tensor, features: int, mixtures: int, cutoffs: tuple[int, ...]
) -> Softmax | AdaptiveSoftmax | MixtureOfSoftmaxes:
    if mixtures > 1:
        return MixtureOfSoftmaxes(weight, features, mixtures)
    return AdaptiveSoftmax(weight, cutoffs) if cutoffs else Softmax(weight)
