"""Pictures as sequences: [B, height, width, channels] to [T, B, D], and reading in two directions.

Values are floating-point, black 0 to white 1.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent

Order = Literal["rows", "pixels", "permuted", "patches", "sweeps"]


def patches(pixels: Tensor, size: int) -> Tensor:
    """[B, H, W, C] -> a grid of patches [B, H / size, W / size, size x size x C]; padded with black below and right."""
    height, width = pixels.shape[1:3]
    pixels = F.pad(pixels, (0, 0, 0, -width % size, 0, -height % size))
    rows = pixels.unflatten(1, (-1, size)).unflatten(3, (-1, size))  # [B, Y, size, X, size, C]
    found: Tensor = rows.transpose(2, 3).flatten(3)
    return found


class Sequence(nn.Module):
    """A picture as a sequence.

    Args:
        order: rows: a step for each row, from the top; pixels: for each pixel, row by row; permuted: for each pixel, in
            a fixed random order; patches: for each patch, row by row.
        shape: height, width and channels of the pictures.
        patch: height and width of a patch.
        permutation: random seed of the order, which is a buffer, saved with the weights.
    """

    def __init__(self, order: Order, shape: tuple[int, int, int], *, patch: int = 1, permutation: int = 0) -> None:
        super().__init__()
        height, width, channels = shape
        self.order, self.patch = order, patch
        self.steps = {"rows": height, "patches": -(-height // patch) * -(-width // patch)}.get(order, height * width)
        self.output_size = {"rows": width * channels, "patches": patch * patch * channels}.get(order, channels)
        if order == "permuted":
            own = torch.Generator().manual_seed(permutation)
            self.register_buffer("permutation", torch.randperm(self.steps, generator=own))
        self.permutation: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, H, W, C] -> [T, B, D]."""
        match self.order:
            case "rows":
                steps = pixels.flatten(2)
            case "patches":
                steps = patches(pixels, self.patch).flatten(1, 2)
            case "permuted":
                steps = pixels.flatten(1, 2)[:, self.permutation]
            case _:
                steps = pixels.flatten(1, 2)
        return steps.transpose(0, 1)


class Sweeps(nn.Module):
    """A bidirectional network along every row of a grid, and another one down every column of its output.

    So every position sees the whole grid. Source: Visin et al. 2015, "ReNet", arXiv 1505.00393 (where columns come
    first).

    Args:
        cell, hidden: of each network.
        features: D, features at a position of the grid.
        layers: number of sweeps over rows and columns.
        options: of `Recurrent`.
    """

    def __init__(self, cell: str, features: int, hidden: int, layers: int = 1, **options: Any) -> None:
        super().__init__()
        sizes = [features] + [2 * hidden] * (2 * layers - 1)
        self.networks = nn.ModuleList(Recurrent(cell, size, hidden, bidirectional=True, **options) for size in sizes)
        self.output_size = 2 * hidden

    def forward(self, grid: Tensor) -> Tensor:
        """[B, Y, X, D] -> [B, Y, X, 2 x hidden]."""
        for network in self.networks:
            steps = grid.flatten(0, 1).transpose(0, 1)  # [X, B x Y, D]: all rows in parallel
            states = network(steps)[0].transpose(0, 1).unflatten(0, grid.shape[:2])
            grid = states.transpose(1, 2)  # the next one reads the other way
        return grid
