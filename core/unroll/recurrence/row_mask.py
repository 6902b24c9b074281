"""Row ends and resets in a padded batch, for either direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.recurrence.cell import expand_right


@dataclass(frozen=True)
class RowMask:
    """Lengths and resets of a batch [T, B, ...].

    Attributes:
        lengths: [B] on the CPU, or None if every row has all T steps.
        alive: bool [T, B] on the batch's device, true up to each row's end; None if `lengths` is.
        reset: bool [T, B], true where a row is reset before that step; never true past its end.
    """

    lengths: Tensor | None = None
    alive: Tensor | None = None
    reset: Tensor | None = None

    @staticmethod
    def of(x: Tensor, lengths: Tensor | None, reset: Tensor | None) -> RowMask:
        """From checked arguments and the batch x [T, B, ...] that they refer to."""
        if lengths is None or bool((lengths == len(x)).all()):
            return RowMask(reset=reset)
        alive = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths.to(x.device)
        return RowMask(lengths, alive, None if reset is None else reset & alive)

    def clear(self, x: Tensor) -> Tensor:
        """x [T, B, ...] with exact zeros past each row's end, where the padding may be NaN."""
        return x if self.alive is None else x.masked_fill(~expand_right(self.alive, x), 0)

    def flip(self, x: Tensor) -> Tensor:
        """x [T, B, ...] with every row reversed from its own end; padding stays in place."""
        if self.lengths is None:
            return x.flip(0)
        steps, batch = x.shape[:2]
        time, row = torch.arange(steps, device="cpu").unsqueeze(1), torch.arange(batch, device="cpu")
        source = torch.where(time < self.lengths, self.lengths - 1 - time, time) * batch + row
        return x.flatten(0, 1).index_select(0, source.flatten().to(x.device)).view(x.shape)

    def backward(self) -> RowMask:
        """The same row mask for a network that reads `flip(x)`.

        A reset before step t separates t - 1 from t. Read backwards, the reset comes before t - 1.
        """
        if self.reset is None:
            return self
        parted = torch.cat([self.reset[1:], torch.zeros_like(self.reset[:1])])
        return RowMask(self.lengths, self.alive, self.flip(parted))
