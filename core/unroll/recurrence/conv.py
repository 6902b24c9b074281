"""Recurrent cells over feature maps, x [T, B, D, Y, X]: the matrix products are convolutions ("*" below).

Padding is "same", so every step's map has the extent (Y, X) of the input. One convolution over all T * B maps is the
whole input side. The state of a row is [H, Y, X]; Recurrent takes the extent of the initial one from x.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, positive
from unroll.recurrence.cells.parts import masked, set_gate_bias

Kernel = int | tuple[int, int]


class ConvCell(Cell):
    """What the convolutional cells share: the weights, their initial values and the two convolutions."""

    extent_dims = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        gates: int,
        *,
        states: tuple[str, ...] = ("hidden",),
        kernel_size: Kernel,
        recurrent_kernel_size: Kernel | None,
        bias: bool,
    ) -> None:
        super().__init__(input_size, hidden_size, state_shapes=dict.fromkeys(states, (hidden_size,)))
        self.kernel_size = odd_pair("kernel_size", kernel_size)
        recurrent = kernel_size if recurrent_kernel_size is None else recurrent_kernel_size
        self.recurrent_kernel_size = odd_pair("recurrent_kernel_size", recurrent)
        rows = gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size, *self.kernel_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size, *self.recurrent_kernel_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(H * Ky * Kx): as for vectors, but a unit's fan-in is the whole recurrent kernel."""
        bound = self.weight_hh[0].numel() ** -0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, x: Tensor) -> Tensor:
        """One convolution over all T * B maps: x [T, B, D, Y, X] -> [T, B, gates * H, Y, X]."""
        maps = F.conv2d(x.flatten(0, 1), self.weight_ih, self.bias_ih, padding="same")
        return maps.view(*x.shape[:2], *maps.shape[1:])

    def recur(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """weight * hidden [B, H, Y, X], for all of weight_hh or some of its gates."""
        return F.conv2d(hidden, weight, padding="same")

    def extra_repr(self) -> str:
        """Sizes, kernels and bias, as every cell prints itself."""
        kernels = f"kernel_size={self.kernel_size}, recurrent_kernel_size={self.recurrent_kernel_size}"
        return f"{super().extra_repr()}, {kernels}, bias={self.bias_ih is not None}"


class ConvLSTMCell(ConvCell):
    """Convolutional LSTM (Shi et al. 2015, "Convolutional LSTM network", arXiv 1506.04214).

        i = sigmoid(U_i * x_t + W_i * h_{t-1} + p_i c_{t-1} + b_i)      input gate
        f = sigmoid(U_f * x_t + W_f * h_{t-1} + p_f c_{t-1} + b_f)      forget gate
        g = tanh(U_g * x_t + W_g * h_{t-1} + b_g)                       candidate
        o = sigmoid(U_o * x_t + W_o * h_{t-1} + p_o c_t + b_o)          output gate
        c_t = f c_{t-1} + i g
        h_t = o tanh(c_t)

    Parameters: 4 * H * (D * Ky * Kx + H * Ry * Rx + 1) + (3 * H * Py * Px if peephole else 0)

    for kernels (Ky, Kx) over the input and (Ry, Rx) over the hidden map.

    Args:
        kernel_size: of the input's convolution, odd; one number or (Ky, Kx).
        recurrent_kernel_size: of the hidden map's; kernel_size if not given. It must cover how far things move from
            one frame to the next.
        peephole: the extent (Py, Px) of the weights p: the map's own (Y, X), as in the paper, or (1, 1) for one weight
            per channel, which reads maps of any size. None: no peepholes.

    When to use it: predicting frames, radar, anything that moves on a grid. Where maps are small and motion does not
    matter, an LSTM over pooled features is faster.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        kernel_size: Kernel = 3,
        recurrent_kernel_size: Kernel | None = None,
        peephole: tuple[int, int] | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            gates=4,
            states=("hidden", "cell"),
            kernel_size=kernel_size,
            recurrent_kernel_size=recurrent_kernel_size,
            bias=bias,
        )
        extent = () if peephole is None else pair("peephole", peephole)
        self.peephole = nn.Parameter(torch.empty(3, hidden_size, *extent)) if extent else None
        self.reset_parameters()

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """One frame: u [B, 4 * H, Y, X] and (hidden, cell), each [B, H, Y, X]."""
        hidden, cell = state
        write, forget, candidate, out = (u + self.recur(masked(hidden, mask), self.weight_hh)).chunk(4, dim=1)
        if self.peephole is not None:
            self._check_extent(cell, self.peephole)
            write, forget = write + self.peephole[0] * cell, forget + self.peephole[1] * cell
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(candidate)
        if self.peephole is not None:
            out = out + self.peephole[2] * cell
        hidden = torch.sigmoid(out) * torch.tanh(cell)
        return hidden, (hidden, cell)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """Sets the biases of the forget and the input gate."""
        set_gate_bias(self.bias_ih, None, 4, 1, keep)
        if write is not None:
            set_gate_bias(self.bias_ih, None, 4, 0, write)

    def _check_extent(self, cell: Tensor, peephole: Tensor) -> None:
        """Rejects other extents than the peepholes': broadcasting would silently enlarge a map of one pixel."""
        wanted, got = tuple(peephole.shape[-2:]), tuple(cell.shape[-2:])
        if wanted not in ((1, 1), got):
            raise ValueError(f"x must be [T, B, D, Y, X] with the peepholes' extent (Y, X) = {wanted}, got {got}")

    def extra_repr(self) -> str:
        """As every convolutional cell, plus the extent of the peepholes."""
        extent = None if self.peephole is None else tuple(self.peephole.shape[-2:])
        return f"{super().extra_repr()}, peephole={extent}"


class ConvGRUCell(ConvCell):
    """Convolutional GRU (Ballas et al. 2016, "Delving deeper into convolutional networks", arXiv 1511.06432).

        r = sigmoid(U_r * x_t + W_r * h_{t-1} + b_r)        reset gate
        z = sigmoid(U_z * x_t + W_z * h_{t-1} + b_z)        update gate
        n = tanh(U_n * x_t + W_n * (r h_{t-1}) + b_n)       candidate
        h_t = (1 - z) n + z h_{t-1}

    Parameters: 3 * H * (D * Ky * Kx + H * Ry * Rx + 1)

    for kernels (Ky, Kx) over the input and (Ry, Rx) over the hidden map. The gates are in GRUCell's order r, z, n, and
    z keeps the old state, as it does there; in the paper 1 - z does.

    Args:
        kernel_size: of the input's convolution, odd; one number or (Ky, Kx).
        recurrent_kernel_size: of the hidden map's; kernel_size if not given.

    When to use it: like ConvLSTM, at half its state and three quarters of its cost; for features of video frames.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        kernel_size: Kernel = 3,
        recurrent_kernel_size: Kernel | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            gates=3,
            kernel_size=kernel_size,
            recurrent_kernel_size=recurrent_kernel_size,
            bias=bias,
        )
        self.reset_parameters()

    def step(self, u: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """One frame: u [B, 3 * H, Y, X] and (hidden,) [B, H, Y, X]."""
        hidden, split = state[0], 2 * self.hidden_size
        gates = u[:, :split] + self.recur(masked(hidden, mask), self.weight_hh[:split])
        reset, update = torch.sigmoid(gates).chunk(2, dim=1)
        recurrent = self.recur(reset * masked(hidden, mask), self.weight_hh[split:])
        candidate = torch.tanh(u[:, split:] + recurrent)
        hidden = candidate + update * (hidden - candidate)
        return hidden, (hidden,)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """Sets the bias of the update gate, which keeps the old state."""
        set_gate_bias(self.bias_ih, None, 3, 1, keep)


def pair(name: str, size: Kernel) -> tuple[int, int]:
    """(Y, X) from one number or two.

    Raises:
        ValueError: the size is not one or two positive whole numbers.
    """
    both = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2:
        raise ValueError(f"{name} must be one number or two (Y, X), got {size!r}")
    return positive(name, both[0]), positive(name, both[1])


def odd_pair(name: str, size: Kernel) -> tuple[int, int]:
    """As `pair`, but raises a ValueError for an even number: such a kernel has no centre and would shift the map."""
    both = pair(name, size)
    if any(number % 2 == 0 for number in both):
        raise ValueError(f"{name} must be odd, got {size!r}")
    return both
