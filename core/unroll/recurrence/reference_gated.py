"""The LSTM and the GRU, forward and backward by hand: the oracles of all their faster paths.

NumPy in float64; one layer, one direction; torch.nn's equations, weight names and gate order, so that its weights can
be used as they are. Sizes: T steps, B batch, D inputs, H hidden units; time first.

A backward pass takes the direct gradient of a loss L by each state (for a loss on the outputs h_t: dL/dh_t with the
other h held constant; a loss on the last state goes into the last step) and adds the gradient through later steps.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unroll.recurrence.reference import Array, one_of, shaped, shaped_or_zero, sigmoid


@dataclass(frozen=True)
class WeightGradients:
    """dL/dweight_ih [4H, D], dL/dweight_hh [4H, H], dL/dbias_ih and dL/dbias_hh [4H]; 3H in a GRU."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


@dataclass(frozen=True)
class LSTMRun:
    """All values of a forward pass, each [T, B, H]: gates i, f, o, candidate g, cell state c, hidden state h."""

    x: Array
    h_0: Array
    c_0: Array
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    h: Array


@dataclass(frozen=True)
class LSTMGradients:
    """The total dL/dh_t and dL/dc_t [T, B, H], dL/dx [T, B, D], dL/dh_0 and dL/dc_0 [B, H], and of the weights."""

    h: Array
    c: Array
    x: Array
    h_0: Array
    c_0: Array
    weights: WeightGradients


class LSTM:
    """Long short-term memory with a forget gate, as torch.nn.LSTM computes it.

        i, f, o = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)       g = tanh(the same with its own rows)
        c_t = f c_{t-1} + i g            h_t = o tanh(c_t)

    weight_ih [4H, D], weight_hh [4H, H], biases [4H] (zero if not given); blocks of rows in the order i, f, g, o.
    Raises ValueError for weights that do not fit together.
    Source: Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber and Cummins 2000.
    """

    def __init__(
        self,
        weight_ih: ArrayLike,
        weight_hh: ArrayLike,
        bias_ih: ArrayLike | None = None,
        bias_hh: ArrayLike | None = None,
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.weight_hh = shaped("weight_hh", weight_hh, "[4H, H]", self.sizes)
        self.weight_ih = shaped("weight_ih", weight_ih, "[4H, D]", self.sizes)
        self.bias_ih = shaped_or_zero("bias_ih", bias_ih, "[4H]", self.sizes)
        self.bias_hh = shaped_or_zero("bias_hh", bias_hh, "[4H]", self.sizes)

    def forward(self, x: ArrayLike, h_0: ArrayLike | None = None, c_0: ArrayLike | None = None) -> LSTMRun:
        """Run over x [T, B, D] from h_0 and c_0 [B, H], zero if not given. Raises ValueError for other shapes."""
        sizes = dict(self.sizes)
        x = shaped("x", x, "[T, B, D]", sizes)
        h = h_0 = shaped_or_zero("h_0", h_0, "[B, H]", sizes)
        c = c_0 = shaped_or_zero("c_0", c_0, "[B, H]", sizes)
        i, f, g, o, cs, hs = np.empty((6, sizes["T"], sizes["B"], sizes["H"]))
        for t in range(len(x)):
            a = x[t] @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
            a_i, a_f, a_g, a_o = np.split(a, 4, axis=-1)
            i[t], f[t], g[t], o[t] = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
            cs[t] = c = f[t] * c + i[t] * g[t]
            hs[t] = h = o[t] * np.tanh(c)
        return LSTMRun(x, h_0, c_0, i, f, g, o, cs, hs)

    def backward(self, run: LSTMRun, dh: ArrayLike, dc: ArrayLike | None = None) -> LSTMGradients:
        """Gradients of a loss with direct gradients dh by the hidden and dc by the cell states, each [T, B, H].

        Raises ValueError for shapes that do not fit the run.
        """
        sizes = dict(zip("TBH", run.h.shape, strict=True))
        dh = shaped("dh", dh, "[T, B, H]", sizes).copy()
        dc = shaped_or_zero("dc", dc, "[T, B, H]", sizes).copy()
        da = np.empty((*run.h.shape[:2], 4 * sizes["H"]))
        h_before, c_before = _before(run.h_0, run.h), _before(run.c_0, run.c)
        carried_h, carried_c = np.zeros_like(run.h_0), np.zeros_like(run.c_0)
        for t in reversed(range(len(run.h))):
            i, f, g, o, tanh_c = run.i[t], run.f[t], run.g[t], run.o[t], np.tanh(run.c[t])
            dh[t] += carried_h
            dc[t] += carried_c + dh[t] * o * (1 - tanh_c**2)
            da_i, da_f = dc[t] * g * i * (1 - i), dc[t] * c_before[t] * f * (1 - f)
            da_g, da_o = dc[t] * i * (1 - g**2), dh[t] * tanh_c * o * (1 - o)
            da[t] = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
            carried_h = da[t] @ self.weight_hh
            carried_c = dc[t] * f  # the cell path: no weight and no squashing between c_t and c_{t-1}
        weights = WeightGradients(_outer(da, run.x), _outer(da, h_before), da.sum(axis=(0, 1)), da.sum(axis=(0, 1)))
        return LSTMGradients(dh, dc, da @ self.weight_ih, carried_h, carried_c, weights)


@dataclass(frozen=True)
class GRURun:
    """All values of a forward pass, each [T, B, H]: reset gate r, update gate z, candidate n, hidden state h."""

    x: Array
    h_0: Array
    r: Array
    z: Array
    n: Array
    h: Array


@dataclass(frozen=True)
class GRUGradients:
    """The total dL/dh_t [T, B, H], dL/dx [T, B, D], dL/dh_0 [B, H], and of the weights."""

    h: Array
    x: Array
    h_0: Array
    weights: WeightGradients


class GRU:
    """Gated recurrent unit, with the reset gate after or before the recurrent product.

        r, z = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
        n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))        reset="after": torch.nn.GRU, cuDNN
        n = tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn)        reset="before": the paper
        h_t = (1 - z) n + z h_{t-1}

    weight_ih [3H, D], weight_hh [3H, H], biases [3H] (zero if not given); blocks of rows in the order r, z, n.
    Raises ValueError for weights that do not fit together and for an unknown reset.
    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014, equations 5 to 8.
    """

    def __init__(
        self,
        weight_ih: ArrayLike,
        weight_hh: ArrayLike,
        bias_ih: ArrayLike | None = None,
        bias_hh: ArrayLike | None = None,
        reset: Literal["after", "before"] = "after",
    ) -> None:
        one_of("reset", reset, ("after", "before"))
        self.sizes: dict[str, int] = {}
        self.weight_hh = shaped("weight_hh", weight_hh, "[3H, H]", self.sizes)
        self.weight_ih = shaped("weight_ih", weight_ih, "[3H, D]", self.sizes)
        self.bias_ih = shaped_or_zero("bias_ih", bias_ih, "[3H]", self.sizes)
        self.bias_hh = shaped_or_zero("bias_hh", bias_hh, "[3H]", self.sizes)
        self.reset_before = reset == "before"
        # The hidden side of the candidate is computed separately.
        self._weight_rz, self._weight_n = np.split(self.weight_hh, [2 * self.sizes["H"]])
        self._bias_rz, self._bias_n = np.split(self.bias_hh, [2 * self.sizes["H"]])

    def forward(self, x: ArrayLike, h_0: ArrayLike | None = None) -> GRURun:
        """Run over x [T, B, D] from h_0 [B, H], zero if not given. Raises ValueError for other shapes."""
        sizes = dict(self.sizes)
        x = shaped("x", x, "[T, B, D]", sizes)
        h = h_0 = shaped_or_zero("h_0", h_0, "[B, H]", sizes)
        r, z, n, hs = np.empty((4, sizes["T"], sizes["B"], sizes["H"]))
        for t in range(len(x)):
            a_r, a_z, a_n = np.split(x[t] @ self.weight_ih.T + self.bias_ih, 3, axis=-1)
            h_r, h_z = np.split(h @ self._weight_rz.T + self._bias_rz, 2, axis=-1)
            r[t], z[t] = sigmoid(a_r + h_r), sigmoid(a_z + h_z)
            n[t] = np.tanh(a_n + self._recall(r[t], h))
            hs[t] = h = (1 - z[t]) * n[t] + z[t] * h
        return GRURun(x, h_0, r, z, n, hs)

    def _recall(self, r: Array, h: Array) -> Array:
        """The candidate's recurrent term."""
        if self.reset_before:
            return (r * h) @ self._weight_n.T + self._bias_n
        return r * (h @ self._weight_n.T + self._bias_n)

    def _recall_backward(self, da: Array, r: Array, h: Array) -> tuple[Array, Array, Array]:
        """For da = dL/d_recall(r, h): dL/dr, dL/dh, and the gradient of the recurrent product, all [B, H]."""
        if self.reset_before:
            drh = da @ self._weight_n
            return drh * h, drh * r, da
        return da * (h @ self._weight_n.T + self._bias_n), (da * r) @ self._weight_n, da * r

    def backward(self, run: GRURun, dh: ArrayLike) -> GRUGradients:
        """Gradients of a loss with direct gradients dh [T, B, H]. Raises ValueError for another shape."""
        sizes = dict(zip("TBH", run.h.shape, strict=True))
        dh = shaped("dh", dh, "[T, B, H]", sizes).copy()
        da_r, da_z, da_n, d_product = np.empty((4, *run.h.shape))
        h_before, carried = _before(run.h_0, run.h), np.zeros_like(run.h_0)
        for t in reversed(range(len(run.h))):
            r, z, n, h = run.r[t], run.z[t], run.n[t], h_before[t]
            dh[t] += carried
            da_n[t] = dh[t] * (1 - z) * (1 - n**2)
            dr, dh_recalled, d_product[t] = self._recall_backward(da_n[t], r, h)
            da_r[t], da_z[t] = dr * r * (1 - r), dh[t] * (h - n) * z * (1 - z)
            carried = dh[t] * z + dh_recalled + np.concatenate([da_r[t], da_z[t]], axis=-1) @ self._weight_rz
        da = np.concatenate([da_r, da_z, da_n], axis=-1)
        da_rz, recalled = da[..., : 2 * sizes["H"]], run.r * h_before if self.reset_before else h_before
        weight_hh = np.concatenate([_outer(da_rz, h_before), _outer(d_product, recalled)])
        bias_hh = np.concatenate([da_rz, d_product], axis=-1).sum(axis=(0, 1))
        weights = WeightGradients(_outer(da, run.x), weight_hh, da.sum(axis=(0, 1)), bias_hh)
        return GRUGradients(dh, da @ self.weight_ih, carried, weights)


def _before(initial: Array, states: Array) -> Array:
    """The state before each step [T, B, H]."""
    return np.concatenate([initial[None], states[:-1]])[: len(states)]


def _outer(da: Array, inputs: Array) -> Array:
    """sum_t sum_b da_t inputs_t^T: the gradient of a weight that is used at every step."""
    return np.tensordot(da, inputs, axes=([0, 1], [0, 1]))
