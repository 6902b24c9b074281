"""The network: after each reading, predicts how much power will have changed at a given time."""

from typing import Any

from torch import Tensor, nn

from unroll.recurrence import Recurrent


class Power(nn.Module):
    """Forecasts of an irregularly sampled series. The scale is kept, so that a saved model can answer in kilowatts."""

    def __init__(self, facts: dict[str, Any], *, cell: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.scale: float = facts["scale"]
        self.recurrent = Recurrent(cell, 4, hidden, layers)
        self.output = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """inputs [T, B, 4] -> the scaled change until the next reading [T, B]."""
        states, _ = self.recurrent(inputs, lengths=lengths)
        changes: Tensor = self.output(states)
        return changes[..., 0]
