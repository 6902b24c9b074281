"""Linear recurrences h_t = a_t h_{t-1} + b_t, computed in parallel over time, and the cells built on them.

a_t and b_t depend only on the input, never on h_{t-1}, so all steps can be computed at once. `linear_scan` cuts T steps
into about sqrt(T) chunks and works on all chunks together, which leaves about 3 sqrt(T) sequential operations instead
of T; it needs no division and no logarithm, so a_t = 0 is not a special case. docs/performance-scan.md has the
measurements behind this choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence.cell import Cell, State, expand_right, last_state, positive
from unroll.recurrence.cells.parts import set_gate_bias
from unroll.recurrence.context import elementary


def linear_scan(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """All states of h_t = a_t * h_{t-1} + b_t, parallel in time; gradients of any order, memory linear in T.

    Args:
        a: [T, B, H] (any dimensions may follow T), usually in [0, 1]. Larger values work as long as the product over
            a chunk of about sqrt(T) steps is finite.
        b: [T, B, H].
        initial: h_0 [B, H], the state before the first step.

    Returns:
        h_1 ... h_T [T, B, H].

    Raises:
        ValueError: the shapes do not fit together.
        TypeError: the dtypes differ or are not floating point.
    """
    _check(a, b, initial)
    if elementary(a, b, initial):
        return linear_loop(a, b, initial)  # torch.export, say, cannot trace through a custom backward
    hidden: Tensor = _Scan.apply(a, b, initial)  # type: ignore[no-untyped-call]  # torch: no types
    return hidden


def linear_loop(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
    """The same, one step at a time, differentiated by autograd: the oracle of `linear_scan`."""
    _check(a, b, initial)
    states = [initial]
    for a_t, b_t in zip(a.unbind(0), b.unbind(0), strict=True):
        states.append(a_t * states[-1] + b_t)
    return torch.stack(states)[1:]


def _check(a: Tensor, b: Tensor, initial: Tensor) -> None:
    if a.dim() < 2 or b.shape != a.shape:
        raise ValueError(f"a and b must both be [T, B, H], got a {list(a.shape)} and b {list(b.shape)}")
    if initial.shape != a.shape[1:]:
        raise ValueError(f"initial must be [B, H] = {list(a.shape[1:])}, got {list(initial.shape)}")
    if not a.is_floating_point() or not a.dtype == b.dtype == initial.dtype:
        got = f"a {a.dtype}, b {b.dtype} and initial {initial.dtype}"
        raise TypeError(f"a, b and initial must have one floating point dtype, got {got}")


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor, initial: Tensor) -> Tensor:
        hidden = torch.empty_like(b)
        _solve(a, b, initial, hidden)
        return hidden

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[2], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, initial, hidden = ctx.saved_tensors
        grad_b = _adjoint(a, grad)
        before = torch.cat([initial.unsqueeze(0), hidden])[:-1]
        return grad_b * before, grad_b, (a[:1] * grad_b[:1]).sum(0)


def _adjoint(a: Tensor, grad: Tensor) -> Tensor:
    if not elementary(a, grad):
        total: Tensor = _Adjoint.apply(a, grad)  # type: ignore[no-untyped-call]  # torch: no types
        return total
    totals = [grad[-1]]
    for a_t, grad_t in zip(a[1:].flip(0), grad[:-1].flip(0), strict=True):
        totals.append(grad_t + a_t * totals[-1])
    return torch.stack(totals[::-1])


class _Adjoint(torch.autograd.Function):
    """The total derivative with respect to each b_t, dE/db_t = grad_t + a_{t+1} dE/db_{t+1}: the scan run backwards.

    It is linear in grad, and its own adjoint is the scan run forwards, so each of the two is the other's backward.
    """

    @staticmethod
    def forward(a: Tensor, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        if len(a):
            _solve(a[1:], grad[:-1], grad[-1], total[:-1], backwards=True)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, total = ctx.saved_tensors
        nothing = torch.zeros_like(grad[:1])
        grad_grad = linear_scan(a, grad, nothing.sum(0))
        before = torch.cat([nothing, grad_grad])[: len(a)]
        return before * total, grad_grad


def _solve(a: Tensor, b: Tensor, state: Tensor, out: Tensor, backwards: bool = False) -> None:
    """Writes all states to out, from the first step to the last or from the last to the first."""
    steps = len(a)
    if steps == 0:
        return
    chunks = math.isqrt(steps)
    length = steps // chunks
    whole = chunks * length
    inside, outside = slice(whole), slice(whole, None)
    if backwards:
        # The steps that do not fill a chunk are still computed last; they are now at the front.
        inside, outside = slice(steps - whole, None), slice(steps - whole)
    parts = (x[inside].reshape(chunks, length, *x.shape[1:]) for x in (a, b, out))
    state = _solve_chunks(*parts, state=state, backwards=backwards)
    a_steps, b_steps, out_steps = (_in_order(x[outside], 0, backwards) for x in (a, b, out))
    _recur(a_steps, b_steps, state, out_steps)


def _solve_chunks(a: Tensor, b: Tensor, out: Tensor, *, state: Tensor, backwards: bool) -> Tensor:
    """The same for [chunks, steps per chunk, B, H]: one step of all chunks at a time. Returns the last state."""
    a_steps, b_steps, out_steps = (_in_order(x, 1, backwards) for x in (a, b, out))
    # A chunk maps its incoming state to decay * state + end, whatever that state turns out to be.
    decay, end = a_steps[0].clone(), b_steps[0].clone()
    for a_t, b_t in zip(a_steps[1:], b_steps[1:], strict=True):
        torch.addcmul(b_t, a_t, end, out=end)
        decay *= a_t
    incoming = torch.empty_like(end)
    decays, ends, starts = (_in_order(x, 0, backwards) for x in (decay, end, incoming))
    starts[0].copy_(state)
    _recur(decays[:-1], ends[:-1], state, starts[1:])
    # A second walk over the steps, now from the right state, reads less memory than correcting stored states would.
    _recur(a_steps, b_steps, incoming, out_steps)
    return _in_order(out_steps[-1], 0, backwards)[-1]


def _recur(a: Sequence[Tensor], b: Sequence[Tensor], state: Tensor, out: Sequence[Tensor]) -> None:
    for a_t, b_t, out_t in zip(a, b, out, strict=True):
        state = torch.addcmul(b_t, a_t, state, out=out_t)


def _in_order(x: Tensor, dim: int, backwards: bool) -> Sequence[Tensor]:
    steps = x.unbind(dim)
    return steps[::-1] if backwards else steps


class LinearCell(Cell):
    """A cell whose step is h_t = a_t h_{t-1} + b_t. A subclass writes `project` and `coefficients`; there is no W."""

    recurrent_weights = ()

    def coefficients(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u [..., P] -> a [..., H] and b [..., H], element by element."""
        raise NotImplementedError(f"{type(self).__name__} must define coefficients(u)")

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: u [B, P] and (hidden [B, H],)."""
        a, b = self.coefficients(u.to(state[0].dtype))
        hidden = torch.addcmul(b, a, state[0])
        return hidden, (hidden,)

    def sequence(
        self,
        u: Tensor,
        state: State,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        fresh: State | None = None,
    ) -> tuple[Tensor, State]:
        """All steps at once; a reset sets a = 0 and b to the step's result from the fresh state."""
        # Under autocast u is in half precision, in which a decay near 1 cannot be told from 1.
        a, b = self.coefficients(u.to(state[0].dtype))
        if reset is not None and fresh is not None:
            anew = expand_right(reset, a)
            a, b = a.masked_fill(anew, 0), torch.where(anew, torch.addcmul(b, a, fresh[0]), b)
        hidden = linear_scan(a, b, state[0])
        return hidden, last_state((hidden,), state, lengths)


def positive_part(x: Tensor) -> Tensor:
    """g(x) = x + 1/2 for x >= 0, sigmoid(x) for x < 0: positive, and continuous at 0 (Feng et al. 2024, appendix B)."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


CANDIDATES: Mapping[str, Callable[[Tensor], Tensor]] = {"linear": lambda x: x, "positive": positive_part}


class _GatedLinearCell(LinearCell):
    """What minGRU and minLSTM share: one matrix for the gates and the candidate, the candidate's rows last."""

    def __init__(self, input_size: int, hidden_size: int, gates: int, candidate: str, bias: bool) -> None:
        super().__init__(input_size, hidden_size)
        if candidate not in CANDIDATES:
            raise ValueError(f"candidate must be one of {', '.join(CANDIDATES)}, got {candidate!r}")
        self.candidate = candidate
        self.weight_ih = nn.Parameter(torch.empty((gates + 1) * hidden_size, input_size))
        self.bias_ih = nn.Parameter(torch.empty((gates + 1) * hidden_size)) if bias else None
        self.reset_parameters()

    def project(self, x: Tensor) -> Tensor:
        """The gates before their sigmoid and the candidate: x [T, B, D] -> [T, B, P]."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def extra_repr(self) -> str:
        """Sizes and options, as every cell prints itself."""
        return f"{super().extra_repr()}, candidate={self.candidate}, bias={self.bias_ih is not None}"


class MinGRUCell(_GatedLinearCell):
    """minGRU (Feng et al. 2024, "Were RNNs all we needed?", arXiv 2410.01201).

        z = sigmoid(U_z x_t + b_z)              update gate
        n = U_n x_t + b_n                       candidate; g of it if candidate = "positive"
        h_t = (1 - z) * h_{t-1} + z * n

    Parameters: 2 * H * (D + 1)

    candidate = "linear" is the paper's definition, "positive" its log-space variant, whose states stay positive.

    When to use it: long sequences, where a GRU's sequential steps are too slow, in a stack of two layers or more: the
    gates do not see the state, so a single layer can only weight and sum its inputs.
    """

    def __init__(self, input_size: int, hidden_size: int, *, candidate: str = "linear", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, 1, candidate, bias)

    def coefficients(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u [..., 2 * H] -> 1 - z and z * n."""
        update, candidate = u.chunk(2, dim=-1)
        # sigmoid(-x) is 1 - sigmoid(x) without its cancellation for large x.
        return torch.sigmoid(-update), torch.sigmoid(update) * CANDIDATES[self.candidate](candidate)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """1 - z = sigmoid(keep); there is no separate gate for `write`."""
        set_gate_bias(self.bias_ih, None, 2, 0, -keep)


class MinLSTMCell(_GatedLinearCell):
    """minLSTM with normalised gates (Feng et al. 2024, arXiv 2410.01201).

        f = sigmoid(U_f x_t + b_f)              forget gate
        i = sigmoid(U_i x_t + b_i)              input gate
        n = U_n x_t + b_n                       candidate; g of it if candidate = "positive"
        h_t = f / (f + i) * h_{t-1} + i / (f + i) * n

    Parameters: 3 * H * (D + 1)

    candidate: as for minGRU. The quotients are formed from the logarithms of the gates, so that they stay exact when
    both gates are closed.

    When to use it: as minGRU; the second gate costs half as much again and makes the memory easier to initialise.
    """

    def __init__(self, input_size: int, hidden_size: int, *, candidate: str = "linear", bias: bool = True) -> None:
        super().__init__(input_size, hidden_size, 2, candidate, bias)

    def coefficients(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u [..., 3 * H] -> f / (f + i) and i / (f + i) * n."""
        forget, write, candidate = u.chunk(3, dim=-1)
        keep = F.logsigmoid(forget) - F.logsigmoid(write)
        return torch.sigmoid(keep), torch.sigmoid(-keep) * CANDIDATES[self.candidate](candidate)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """f = sigmoid(keep) and i = 1 - f; a separate `write` would change the fraction that is kept."""
        set_gate_bias(self.bias_ih, None, 3, 0, keep)
        set_gate_bias(self.bias_ih, None, 3, 1, -keep)


class RGLRUCell(LinearCell):
    """Real-gated linear recurrent unit (De et al. 2024, "Griffin", arXiv 2402.19427).

        y_t = x_t                                       if D = H, the paper's layer; else V x_t + b_y
        r = sigmoid(W_r y_t + b_r)                      recurrence gate
        i = sigmoid(W_i y_t + b_i)                      input gate
        a = sigmoid(L)^(8 r)                            L: one number per unit
        h_t = a * h_{t-1} + sqrt(1 - a^2) * (i * y_t)

    Parameters: 2 * H * (H / blocks + 1) + H + (H * (D + 1) if D != H else 0)

    W_r and W_i are dense for blocks = 1 and block-diagonal otherwise; Griffin takes as many blocks as it has attention
    heads. sigmoid(L)^8 starts uniform in [0.9, 0.999]. The convolution and the gated branch around this layer in
    Griffin's block are not part of it.

    When to use it: very long memory at a constant variance of the state, in deep stacks with residual = True.
    """

    power = 8.0

    def __init__(self, input_size: int, hidden_size: int, *, blocks: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        self.blocks = positive("blocks", blocks)
        if hidden_size % blocks:
            raise ValueError(f"blocks must divide hidden_size = {hidden_size}, got {blocks}")
        width = hidden_size // blocks
        same = input_size == hidden_size
        self.weight_ih = None if same else nn.Parameter(torch.empty(hidden_size, input_size))
        self.bias_ih = None if same else nn.Parameter(torch.empty(hidden_size))
        self.weight_gates = nn.Parameter(torch.empty(2, blocks, width, width))
        self.bias_gates = nn.Parameter(torch.empty(2 * hidden_size))
        self.decay = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gates uniform in +-1/sqrt(H / blocks), the fan-in of a unit; L as in the paper."""
        super().reset_parameters()
        bound = 1 / math.sqrt(self.weight_gates.shape[-1])
        nn.init.uniform_(self.weight_gates, -bound, bound)
        with torch.no_grad():
            self.decay.uniform_(0.9, 0.999).pow_(1 / self.power).logit_()

    def project(self, x: Tensor) -> Tensor:
        """Both gates before their sigmoid, and y: x [T, B, D] -> [T, B, 3 * H]."""
        y = x if self.weight_ih is None else F.linear(x, self.weight_ih, self.bias_ih)
        blocks = y.reshape(*y.shape[:-1], self.blocks, y.shape[-1] // self.blocks)
        gates = torch.einsum("...ni,gnoi->...gno", blocks, self.weight_gates).flatten(-3)
        return torch.cat([gates + self.bias_gates, y], dim=-1)

    def coefficients(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u [..., 3 * H] -> a and sqrt(1 - a^2) * (i * y)."""
        recurrence, write, y = u.chunk(3, dim=-1)
        log_a = self.power * F.logsigmoid(self.decay) * torch.sigmoid(recurrence)
        # 1 - a^2 without cancellation. Where r has underflowed and a = 1 exactly, the clamp keeps sqrt's slope finite.
        rest = (-torch.expm1(2 * log_a)).clamp(min=torch.finfo(u.dtype).tiny)
        return log_a.exp(), rest.sqrt() * torch.sigmoid(write) * y

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """The recurrence gate starts half open: sigmoid(L)^4 = sigmoid(keep)."""
        set_gate_bias(self.bias_gates, None, 2, 0, torch.zeros_like(keep))
        with torch.no_grad():
            # L = logit(p) for log p = logsigmoid(keep) / 4, without forming p, which may round to 1.
            log_p = F.logsigmoid(keep) * 2 / self.power
            self.decay.copy_(log_p - torch.log(-torch.expm1(log_p)))

    def extra_repr(self) -> str:
        """Sizes and options, as every cell prints itself."""
        return f"{super().extra_repr()}, blocks={self.blocks}"
