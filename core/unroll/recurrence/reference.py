"""The simple recurrent network and its gradient through time, written out by hand.

    S_t = f(U x_t + W S_{t-1})      f: tanh, relu, sigmoid, identity
    O_t = g(V S_t)                  g: softmax, sigmoid, identity
    E   = sum_t e_t                 e_t: cross-entropy or squared error

    dE/dV = sum_t           (de_t/dO_t) (dO_t/dV)
    dE/dW = sum_t sum_{k<=t} (de_t/dO_t) (dO_t/dS_t) (dS_t/dS_k) (d+S_k/dW)        likewise dE/dU
    dS_t/dS_k = prod_{j=k+1..t} diag(f'(U x_j + W S_{j-1})) W

Here d+S_k/dW is the immediate derivative: S_{k-1} is held constant. NumPy in float64, no automatic differentiation:
slow, plain, and the oracle of every faster path. `reference_gated` does the same for the LSTM and the GRU.

Sizes: T steps, B batch, D inputs, H hidden units, K outputs. Arrays are time first. The arguments `t` and `k` count as
in the equations: steps are 1 to T, and 0 is the initial state; so S_t is row `S[t - 1]` of the states [T, B, H].

Sources: Elman, Finding Structure in Time, 1990; Werbos, Backpropagation Through Time, 1990; the double sum over (t, k)
as in Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013, equations 3 to 5.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Activation = Literal["tanh", "relu", "sigmoid", "identity"]
Output = Literal["softmax", "sigmoid", "identity"]
Error = Literal["cross_entropy", "squared_error"]
Weight = Literal["U", "V", "W"]


def shaped(name: str, value: ArrayLike, shape: str, sizes: dict[str, int]) -> Array:
    """`value` as float64, checked against a shape written like "[T, B, D]" or "[4H, H]".

    `sizes` holds the sizes known so far; others are taken from `value` and added.
    Raises ValueError, with both shapes, if `value` does not fit.
    """
    array = np.asarray(value, dtype=np.float64)
    axes = shape.strip("[]").split(", ")
    known = ", ".join(f"{axis} = {sizes[axis]}" for axis in dict.fromkeys(shape) if axis in sizes)
    agrees = array.ndim == len(axes)
    # From the last axis to the first, so that "[4H, H]" learns H before it needs 4H.
    for axis, size in zip(reversed(axes), reversed(array.shape), strict=False):
        agrees = agrees and size == int(axis[:-1] or 1) * sizes.setdefault(axis[-1], size)
    if not agrees:
        raise ValueError(f"{name}: expected {shape}{known and f' with {known}'}, got {list(array.shape)}")
    return array


def shaped_or_zero(name: str, value: ArrayLike | None, shape: str, sizes: dict[str, int]) -> Array:
    """`shaped`, or for None zeros of that shape, all of whose sizes must then be known."""
    if value is not None:
        return shaped(name, value, shape, sizes)
    return np.zeros([int(axis[:-1] or 1) * sizes[axis[-1]] for axis in shape.strip("[]").split(", ")])


def one_of(argument: str, name: str, known: Iterable[str]) -> None:
    """Raises ValueError, naming the `argument`, if `name` is not one of the `known`."""
    if name not in known:
        raise ValueError(f"{argument}: expected one of {', '.join(known)}, got {name!r}")


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)) without overflow, and with full relative precision in both tails."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -a)), dtype=np.float64)


def softmax(a: Array) -> Array:
    """exp(a) / sum(exp(a)) over the last axis, without overflow."""
    powers = np.exp(a - a.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)


# f, and f' in terms of the value S = f(a), so that the backward pass needs nothing else.
_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda S: 1 - S**2),
    "relu": (lambda a: np.maximum(a, 0.0), lambda S: (S > 0).astype(np.float64)),
    "sigmoid": (sigmoid, lambda S: S * (1 - S)),
    "identity": (lambda a: a, np.ones_like),
}

# g, and the product (de/dO) (dO/da) of any row de/dO with its Jacobian, in terms of the value O = g(a).
_OUTPUTS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "softmax": (softmax, lambda value, row: value * (row - (value * row).sum(axis=-1, keepdims=True))),
    "sigmoid": (sigmoid, lambda value, row: value * (1 - value) * row),
    "identity": (lambda a: a, lambda value, row: row),
}


class Network:
    """S_t = f(U x_t + W S_{t-1}), O_t = g(V S_t), with U [H, D], W [H, H] and V [K, H].

    Raises ValueError for weights that do not fit together and for an unknown f or g.
    """

    def __init__(self, U: ArrayLike, W: ArrayLike, V: ArrayLike, f: Activation = "tanh", g: Output = "softmax") -> None:
        one_of("f", f, _ACTIVATIONS)
        one_of("g", g, _OUTPUTS)
        self.sizes: dict[str, int] = {}
        self.U = shaped("U", U, "[H, D]", self.sizes)
        self.W = shaped("W", W, "[H, H]", self.sizes)
        self.V = shaped("V", V, "[K, H]", self.sizes)
        self.f: Activation = f
        self.g: Output = g

    def forward(self, x: ArrayLike, S_0: ArrayLike | None = None) -> tuple[Array, Array]:
        """S_1 ... S_T [T, B, H] and O_1 ... O_T [T, B, K] for x [T, B, D] and S_0 [B, H], zero if not given.

        Raises ValueError for shapes that do not fit the weights.
        """
        sizes = dict(self.sizes)
        x = shaped("x", x, "[T, B, D]", sizes)
        S = np.empty((sizes["T"] + 1, sizes["B"], sizes["H"]))
        S[0] = shaped_or_zero("S_0", S_0, "[B, H]", sizes)
        f, g = _ACTIVATIONS[self.f][0], _OUTPUTS[self.g][0]
        for t in range(1, len(S)):
            S[t] = f(x[t - 1] @ self.U.T + S[t - 1] @ self.W.T)
        return S[1:], g(S[1:] @ self.V.T)


@dataclass(frozen=True)
class Gradients:
    """dE/dU [H, D], dE/dV [K, H], dE/dW [H, H], and for the inputs: dE/dx [T, B, D], dE/dS_0 [B, H]."""

    U: Array
    V: Array
    W: Array
    x: Array
    S_0: Array


class BPTT:
    """The error of a network on one batch, and every piece of its gradient through time.

    x [T, B, D] inputs, y [T, B, K] targets (for classes: one-hot), S_0 [B, H] initial state, zero if not given.

    The error of step t, `e[t - 1]`, summed over the K outputs, is
      "cross_entropy"   -sum y log O after softmax; -sum (y log O + (1 - y) log(1 - O)) after sigmoid
      "squared_error"   1/2 sum (O - y)^2 after any g

    Attributes: `S` [T, B, H], `O` [T, B, K], `e` [T, B], and `E`, the sum of e over steps and batch.
    Raises ValueError for shapes that do not fit, an unknown error, and cross-entropy of outputs that are not
    probabilities (g = identity).
    """

    def __init__(
        self,
        network: Network,
        x: ArrayLike,
        y: ArrayLike,
        S_0: ArrayLike | None = None,
        error: Error = "cross_entropy",
    ) -> None:
        one_of("error", error, ("cross_entropy", "squared_error"))
        if error == "cross_entropy" and network.g == "identity":
            raise ValueError("error: cross_entropy needs g = softmax or sigmoid, got g = identity")
        sizes = dict(network.sizes)
        self.network = network
        self.x = shaped("x", x, "[T, B, D]", sizes)
        self.y = shaped("y", y, "[T, B, K]", sizes)
        self.S_0 = shaped_or_zero("S_0", S_0, "[B, H]", sizes)
        self.S, self.O = network.forward(self.x, self.S_0)
        self.e, self._de_da = self._errors(error)
        self.E = float(self.e.sum())
        self._slopes = _ACTIVATIONS[network.f][1](self.S)  # f'(U x_t + W S_{t-1})  [T, B, H]

    def _errors(self, error: Error) -> tuple[Array, Array]:
        """e_t [T, B], and its gradient with respect to a_t = V S_t, which is (de_t/dO_t) (dO_t/da_t) [T, B, K]."""
        y, difference = self.y, self.O - self.y
        if error == "squared_error":
            return 0.5 * (difference**2).sum(axis=-1), _OUTPUTS[self.network.g][1](self.O, difference)
        # From a rather than O, with the two factors multiplied out: log O and 1 / O fail where O rounds to 0.
        a = self.S @ self.network.V.T
        if self.network.g == "softmax":
            log_O = a - np.logaddexp.reduce(a, axis=-1, keepdims=True)
            return -(y * log_O).sum(axis=-1), self.O * y.sum(axis=-1, keepdims=True) - y
        return (np.logaddexp(0.0, a) - y * a).sum(axis=-1), difference

    def _state(self, t: int) -> Array:
        return self.S[t - 1] if t else self.S_0

    def _check_steps(self, t: int, k: int) -> None:
        if not (0 <= k <= t and 1 <= t <= len(self.S)):
            raise ValueError(f"t, k: expected 0 <= k <= t and 1 <= t <= T = {len(self.S)}, got t = {t}, k = {k}")

    # -- the pieces of the sum ---------------------------------------------------------------------------------------

    def jacobian(self, t: int, k: int) -> Array:
        """dS_t/dS_k = prod_{j=k+1..t} diag(f'_j) W, the latest leftmost, for 0 <= k <= t: [B, H, H], one per row."""
        self._check_steps(t, k)
        product = np.tile(np.eye(self.network.sizes["H"]), (self.S.shape[1], 1, 1))
        for j in range(k + 1, t + 1):
            product = self._slopes[j - 1][:, :, None] * (self.network.W @ product)
        return product

    def _state_gradients(self, t: int) -> Iterator[Array]:
        """de_t/dS_k [B, H] for k = t, t - 1, ..., 0: the product above, from the left, one factor per step."""
        gradient = self._de_da[t - 1] @ self.network.V
        yield gradient
        for j in range(t, 0, -1):
            gradient = (gradient * self._slopes[j - 1]) @ self.network.W
            yield gradient

    def state_gradient(self, t: int, k: int) -> Array:
        """de_t/dS_k [B, H] for 0 <= k <= t: how much the error of step t still depends on the state at step k."""
        self._check_steps(t, k)
        return next(islice(self._state_gradients(t), t - k, None))

    def _term(self, weight: Weight, k: int, gradient: Array) -> Array:
        """(de_t/dS_k) (d+S_k/dweight), summed over the batch."""
        before = self.x[k - 1] if weight == "U" else self._state(k - 1)
        term: Array = (gradient * self._slopes[k - 1]).T @ before
        return term

    def terms(self, weight: Weight, lag: int | None = None) -> dict[tuple[int, int], Array]:
        """Each term of dE/dU, dE/dV or dE/dW by its indices (t, k), 1 <= k <= t <= T, summed over the batch.

        `terms("W")[5, 2]` is (de_5/dS_5) (dS_5/dS_2) (d+S_2/dW), of W's shape. dE/dV is a single sum, so its terms are
        (t, t). With `lag`, only the terms with t - k <= lag.
        """
        one_of("weight", weight, ("U", "V", "W"))
        if lag is not None and lag < 0:
            raise ValueError(f"lag: expected at least 0, got {lag}")
        T = len(self.S)
        if weight == "V":
            return {(t, t): self._de_da[t - 1].T @ self.S[t - 1] for t in range(1, T + 1)}
        kept = T if lag is None else lag + 1
        return {
            (t, k): self._term(weight, k, gradient)
            for t in range(1, T + 1)
            for k, gradient in zip(range(t, max(0, t - kept), -1), self._state_gradients(t), strict=False)
        }

    # -- and their sums ----------------------------------------------------------------------------------------------

    def truncated(self, weight: Weight, lag: int) -> Array:
        """The gradient of truncated BPTT: the double sum cut at t - k <= lag. From lag T - 1 on it is exact."""
        nothing: Array = np.zeros_like(getattr(self.network, weight))
        return sum(self.terms(weight, lag).values(), start=nothing)

    def share_by_lag(self, weight: Weight) -> Array:
        """[T]: how much of dE/dweight comes from each lag t - k = 0, ..., T - 1.

        The norm of the sum of the terms with this lag, divided by the sum of these norms: from 0 to 1, adding up to 1.
        """
        by_lag = np.zeros((len(self.S), *getattr(self.network, weight).shape))
        for (t, k), term in self.terms(weight).items():
            by_lag[t - k] += term
        norms = np.linalg.norm(by_lag, axis=(1, 2))
        return np.asarray(norms / (norms.sum() or 1.0), dtype=np.float64)

    def gradients(self) -> Gradients:
        """The whole gradient, in one sweep from the last step to the first.

        The double sum with its order exchanged: dE/dS_k = sum_{t>=k} de_t/dS_k is carried from step to step, so that
        the cost is linear in T rather than quadratic.
        """
        network, carried = self.network, np.zeros_like(self.S_0)
        dU, dV, dW = np.zeros_like(network.U), np.zeros_like(network.V), np.zeros_like(network.W)
        dx = np.empty_like(self.x)
        for t in range(len(self.S), 0, -1):
            dS = self._de_da[t - 1] @ network.V + carried
            da = dS * self._slopes[t - 1]
            dV += self._de_da[t - 1].T @ self.S[t - 1]
            dU += da.T @ self.x[t - 1]
            dW += da.T @ self._state(t - 1)
            dx[t - 1] = da @ network.U
            carried = da @ network.W
        return Gradients(dU, dV, dW, dx, carried)
