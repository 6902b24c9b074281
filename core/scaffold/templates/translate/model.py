"""The network: an encoder in both directions, a decoder, and attention from each of its steps to the whole source."""

from typing import Any

import torch
from torch import Tensor, nn

from core.recurrence import Recurrent
from core.sequence.attention import General, Memory
from core.sequence.text import Vocabulary


class ${Name}(nn.Module):
    """Encoder and decoder with attention (Luong, Pham and Manning 2015, without input feeding).

    Args:
        facts: of the data; the vocabularies are kept, so that a saved model can translate.
        cell, hidden, layers: of `core.recurrence.Recurrent`.
    """

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.source, self.target = Vocabulary.from_json(facts["source"]), Vocabulary.from_json(facts["target"])
        self.longest: int = facts["longest"]
        self.reading = nn.Embedding(len(self.source), hidden)
        self.encoder = Recurrent(cell, hidden, hidden, layers, bidirectional=True)
        self.writing = nn.Embedding(len(self.target), hidden)
        self.decoder = Recurrent(cell, hidden, hidden, layers)
        self.attention = General(hidden, self.encoder.output_size)
        self.output = nn.Linear(hidden + self.encoder.output_size, len(self.target))

    def encode(self, sources: Tensor, lengths: Tensor) -> Memory:
        """sources [S, B] and lengths [B] -> what the decoder looks at."""
        states, _ = self.encoder(self.reading(sources), lengths=lengths)
        return self.attention.remember(states, lengths)

    def decode(self, words: Tensor, memory: Memory, state: Any = None) -> tuple[Tensor, Any]:
        """words [T, B] after `state` -> log probabilities of the next ones [T, B, V], and the state after them."""
        states, state = self.decoder(self.writing(words), state)
        context, _ = self.attention(states, memory)
        return self.output(torch.cat((states, context), 2)).log_softmax(2), state
