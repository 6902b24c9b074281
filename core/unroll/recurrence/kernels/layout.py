"""Layout of a batch without padding: time first, rows sorted by descending length."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the rows of a batch are stored, time first and without padding, as in torch's PackedSequence.

    Attributes:
        counts: int64 [T], how many rows reach step t. Rows are sorted by descending length.
        offsets: int64 [T], where the rows of step t begin.
        last: int64 [B], where each row's last step is; None if all rows have T steps.
        reset: uint8 [N] or None: the row is reset before this step.
    """

    counts: Tensor
    offsets: Tensor
    last: Tensor | None = None
    reset: Tensor | None = None

    @staticmethod
    def full(steps: int, batch: int, reset: Tensor | None = None) -> Layout:
        """All rows have T steps."""
        return Layout(*_grid(steps, batch), None, _bytes(reset))

    @staticmethod
    def packed(counts: Tensor, batch: int, reset: Tensor | None = None) -> Layout:
        """From the number of rows at each step; some of the `batch` rows may have no steps at all."""
        offsets = counts.cumsum(0) - counts
        lengths = (counts.unsqueeze(0) > _count(batch).unsqueeze(1)).sum(1)
        last = torch.where(lengths > 0, offsets[(lengths - 1).clamp(min=0)] + _count(batch), -1)
        return Layout(counts, offsets, last, _bytes(reset))

    @property
    def total(self) -> int:
        """N, the total number of steps of all rows."""
        return int(self.offsets[-1] + self.counts[-1])

    def before(self, batch: int) -> Tensor | None:
        """int64 [N]: index of the state before each step in [states; initial; fresh]; None: the previous step."""
        if self.last is None and self.reset is None:
            return None
        steps, total = len(self.counts), self.total
        time = torch.repeat_interleave(_count(steps), self.counts)
        row = _count(total) - self.offsets[time]
        index = torch.where(time > 0, self.offsets[(time - 1).clamp(min=0)] + row, total + row)
        return index if self.reset is None else torch.where(self.reset.cpu().bool(), total + batch + row, index)


@functools.lru_cache(maxsize=64)
def _grid(steps: int, batch: int) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # cached for calls in any mode
        return torch.full((steps,), batch, device="cpu"), _count(steps) * batch


def _count(end: int) -> Tensor:
    """0, 1, ... on the CPU, whatever the default device."""
    return torch.arange(end, device="cpu")


def _bytes(reset: Tensor | None) -> Tensor | None:
    return None if reset is None else reset.to(torch.uint8).contiguous()


def final_state(layout: Layout, states: Tensor, initial: Tensor, ring: bool) -> Tensor:
    """Each row's state after its own last step: from all states [N, n], or from the last two [2 B, n]."""
    batch = len(initial)
    if layout.last is None:
        steps = len(layout.counts)
        begin = (steps - 1) % 2 * batch if ring else (steps - 1) * batch
        return states[begin : begin + batch].clone()
    row = _count(batch)
    if ring:
        lengths = (layout.counts.unsqueeze(0) > row.unsqueeze(1)).sum(1)
        index = (lengths - 1).clamp(min=0) % 2 * batch + row
    else:
        index = layout.last.clamp(min=0)
    there = (layout.last >= 0).unsqueeze(1).to(states.device)
    return torch.where(there, states[index.to(states.device)], initial)
