"""The network: it reads the clicks, and scores every item by how well its vector fits the state."""

from typing import Any

from torch import Tensor, nn

from core.recurrence import Recurrent


class ${Name}(nn.Module):
    """Next-item recommendation from a session (Hidasi et al. 2016), with shared item vectors.

    Args:
        facts: of the data; the items are kept, so that a saved model can name them.
        cell, hidden, layers: of `core.recurrence.Recurrent`.
    """

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.items: list[str] = facts["items"]
        self.vectors = nn.Embedding(len(self.items), hidden)
        nn.init.normal_(self.vectors.weight, std=hidden**-0.5)
        self.recurrent = Recurrent(cell, hidden, hidden, layers)

    def forward(self, clicks: Tensor, lengths: Tensor | None = None) -> Tensor:
        """clicks [T, B] -> scores of what comes after each of them, [T, B, items]."""
        states, _ = self.recurrent(self.vectors(clicks), lengths=lengths)
        return states @ self.vectors.weight.T
