"""The network: every word sees the words before and behind it."""

from typing import Any

from torch import Tensor, nn

from core.recurrence import Recurrent


class ${Name}(nn.Module):
    """Sequence tagging.

    Args:
        facts: of the data; they are kept, so that a saved model knows its words and tags.
        cell, hidden, layers: of `core.recurrence.Recurrent`, in both directions.
    """

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.words: list[str] = facts["words"]
        self.tags: list[str] = facts["tags"]
        self.embedding = nn.Embedding(len(self.words), hidden)
        self.recurrent = Recurrent(cell, hidden, hidden, layers, bidirectional=True)
        self.output = nn.Linear(self.recurrent.output_size, len(self.tags))

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """words [T, B] and lengths [B] -> scores [T, B, tags]."""
        states, _ = self.recurrent(self.embedding(words), lengths=lengths)
        scores: Tensor = self.output(states)
        return scores
