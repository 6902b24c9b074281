"""Negative sampling: items drawn with probability proportional to a power of their frequency."""

import torch
from torch import Tensor, nn


class PopularitySampler(nn.Module):
    """Draws items with probability proportional to count ** alpha, independently and with replacement.

    alpha = 0 is uniform over the items that occur, alpha = 1 follows the data. Items that never occur are never drawn.
    Source: Hidasi and Karatzoglou, Recurrent Neural Networks with Top-k Gains, 2018, section 3.2.

    Args:
        counts: occurrences of each item in the training data, [N].
        alpha: the power.

    Raises:
        ValueError: counts that are not [N], negative, or all zero.
    """

    def __init__(self, counts: Tensor, alpha: float) -> None:
        super().__init__()
        if counts.ndim != 1 or not (counts >= 0).all() or not counts.any():
            raise ValueError(f"counts must be [N], not negative and not all zero, got {list(counts.shape)}")
        occurs = counts > 0
        weights = torch.where(occurs, counts.double() ** alpha, 0.0)
        cumulative = (weights / weights.sum()).cumsum(0)
        # Rounding must not leave a gap after the last item that occurs: a draw from it would be a wrong item.
        cumulative[int(occurs.nonzero()[-1]) :] = 1.0
        self.register_buffer("cumulative", cumulative, persistent=False)
        self.register_buffer("log_probability", (weights / weights.sum()).log().float(), persistent=False)
        self.cumulative: Tensor
        self.log_probability: Tensor
        """log of the probability of each item, [N]; minus infinity where it never occurs"""

    def forward(self, count: int) -> Tensor:
        """`count` items, [count] int64, on the device of this module, from torch's global random number generator."""
        uniform = torch.rand(count, dtype=torch.float64, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, uniform, right=True)
