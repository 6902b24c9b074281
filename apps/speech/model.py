"""The recogniser: recurrent layers over stacked frames, and at each step a distribution over symbols."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent
from unroll.sequence import ctc
from unroll.sequence.text import Vocabulary

from .augment import Augment
from .features import LogMel


def reduced(frames: int, stack: int) -> int:
    """Number of network steps for this many frames; the last may be padded."""
    return -(-frames // stack)


class Recogniser(nn.Module):
    """Connectionist temporal classification over a recurrent network.

    It holds everything from samples to text, so that saved weights and facts are enough to transcribe.

    Args:
        vocabulary: the symbols; number 0 is the blank.
        features: computes frames from samples.
        mean, deviation: of each band over the training data, [bands].
        cell, hidden, layers, bidirectional, dropout: of `unroll.Recurrent`. A unidirectional network can stream.
        stack: frames joined into one step; fewer steps are faster, but too few cannot align fast speech.
        augment: applied to the frames in training; None: no augmentation.
        beam: prefixes kept in decoding; 0: greedy, the best path.
        words: the only words that the beam may write; empty: any.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        features: LogMel,
        mean: Sequence[float],
        deviation: Sequence[float],
        *,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 2,
        bidirectional: bool = True,
        dropout: float = 0.0,
        stack: int = 3,
        augment: Augment | None = None,
        beam: int = 8,
        words: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.vocabulary, self.features, self.stack, self.beam = vocabulary, features, stack, beam
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.mean: Tensor
        self.deviation: Tensor
        self.augment = augment
        self.join = nn.Sequential(nn.Linear(stack * features.bands, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.recurrent = Recurrent(cell, hidden, hidden, layers, bidirectional=bidirectional, dropout=dropout)
        self.lexicon = _lexicon(vocabulary, words) if words and beam else None
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.recurrent.output_size, len(vocabulary)))

    def forward(self, features: Tensor, lengths: Tensor, state: Any = None) -> tuple[Tensor, Tensor, Any]:
        """Log-mel frames [T, B, bands], lengths [B] -> log probabilities [T', B, K], lengths [B] in steps, the state.

        T' = ceil(T / stack). For a unidirectional network the frames may come in pieces (of a multiple of `stack`),
        each with the state that was returned for the piece before.
        """
        features = (features - self.mean) / self.deviation
        if self.training and self.augment is not None:
            features = self.augment(features, lengths)
        steps, lengths = self._stack(features, lengths)
        output, state = self.recurrent(self.join(steps), state, lengths=lengths)
        return self.output(output).float().log_softmax(-1), lengths, state

    def _stack(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames, rows, bands = features.shape
        beyond = torch.arange(frames, device=features.device)[:, None] >= lengths
        features = features.masked_fill(beyond[..., None], 0)
        features = nn.functional.pad(features, (0, 0, 0, 0, 0, -frames % self.stack))
        steps = features.reshape(-1, self.stack, rows, bands).transpose(1, 2).flatten(2)
        return steps, -(-lengths // self.stack)

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[str]:
        """Log probabilities [T', B, K], lengths in steps [B] -> the text of each row."""
        if not self.beam:
            found = ctc.greedy(log_probs, lengths)
        else:
            found = ctc.beam(log_probs, lengths, self.beam, self.lexicon)
        return [self.vocabulary.decode(numbers) for numbers in found]

    @property
    def decoding(self) -> str:
        """How texts are decoded, for signatures."""
        lexicon = "+lexicon" if self.lexicon else ""
        return f"beam{self.beam}{lexicon}" if self.beam else "greedy"


def _lexicon(vocabulary: Vocabulary, words: Sequence[str]) -> ctc.Lexicon | None:
    """The words as labels of the vocabulary; None if its symbols are words already."""
    if vocabulary.units == "words":
        return None
    blank = vocabulary.symbols.index(" ") if " " in vocabulary.symbols else None
    return ctc.Lexicon.of([vocabulary.encode(word, "lexicon") for word in words], blank, len(vocabulary))
