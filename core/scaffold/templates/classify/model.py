"""The network: a recurrent layer over the sequence, the mean of its outputs, one score per label."""

from typing import Any

from torch import Tensor, nn

from core.recurrence import Recurrent
from core.sequence.pooling import mean


class ${Name}(nn.Module):
    """Sequence classification.

    Args:
        facts: of the data; it is kept, so that a saved model knows its labels.
        cell, hidden, layers: of `core.recurrence.Recurrent`.
    """

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.labels: list[str] = facts["labels"]
        self.recurrent = Recurrent(cell, 1, hidden, layers)
        self.output = nn.Linear(self.recurrent.output_size, len(self.labels))

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """values [T, B, 1] and lengths [B] -> scores [B, labels]."""
        states, _ = self.recurrent(values, lengths=lengths)
        scores: Tensor = self.output(mean(states, lengths))
        return scores
