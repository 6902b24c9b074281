"""The network: what comes next, after all that came before."""

from typing import Any

from torch import Tensor, nn

from core.recurrence import Recurrent
from core.sequence.text import Vocabulary


class ${Name}(nn.Module):
    """A language model over characters.

    Args:
        facts: of the data; the vocabulary is kept, so that a saved model can write.
        cell, hidden, layers: of `core.recurrence.Recurrent`.
    """

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.vocabulary = Vocabulary.from_json(facts["vocabulary"])
        self.embedding = nn.Embedding(len(self.vocabulary), hidden)
        self.recurrent = Recurrent(cell, hidden, hidden, layers)
        self.output = nn.Linear(hidden, len(self.vocabulary))

    def forward(self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """inputs [T, B] after `state` -> log probabilities of what comes next [T, B, V], and the state after them."""
        states, state = self.recurrent(self.embedding(inputs), state, lengths=lengths)
        return self.output(states).log_softmax(2), state
