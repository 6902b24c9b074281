"""The steps of any traced cell on a GPU: Triton between cuBLAS's products, or Triton alone for the whole sequence.

The plan is that of the fused CPU path (plan.py), generated as Triton. Rows are sorted by length and packed as there, so
that no padding is computed. Float32.

With TRITON_INTERPRET=1, set before anything imports triton, the same functions run on the CPU, one program at a time:
slow, but the GPU code can be tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence.context import intercepted
from unroll.recurrence.kernels.buffers import (
    COUNTS,
    D_OUT,
    D_PARAM,
    D_U,
    KEPT,
    MASK,
    OFFSETS,
    OUT,
    RESET,
    SAVED,
    SCRATCH,
    Buffer,
    Kind,
    U,
)
from unroll.recurrence.kernels.call import INPUTS, Run, add_vectors, twice
from unroll.recurrence.kernels.layout import Layout, final_state
from unroll.recurrence.kernels.plan import Program, WeightGradient
from unroll.recurrence.kernels.triton.codegen_triton import first_row
from unroll.recurrence.kernels.triton.triton_kernel import Buffers, Generated, Weights


class Kernel(Generated):
    """Generated steps that autograd can differentiate."""

    narrow = direct = False

    def apply(self, run: Run[Any], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Output and states, differentiably."""
        return _Triton.apply(run, self, tensors[0], *tensors[INPUTS:])  # type: ignore[no-untyped-call,no-any-return]  # torch: no types


class _Triton(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run[Any], kernel: Kernel, u: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        u, *contiguous = (tensor.detach().contiguous() for tensor in (u, *tensors))
        state, fresh, weights = run.parted(contiguous)
        with torch.cuda.device_of(u):
            buffers, final = _values(run, kernel, u, state, fresh, weights)
        if run.keep:
            ctx.run, ctx.kernel = run, kernel
            kept = [buffers[name] for name in _kept(len(state))]
            ctx.save_for_backward(*tensors, u if kernel.program.needs_u else None, *kept)
        return (buffers[OUT], *final)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, *d_after: Tensor) -> tuple[Tensor | None, ...]:
        run, kernel = ctx.run, ctx.kernel
        names = (U, *_kept(len(d_after)))
        everything = ctx.saved_tensors
        tensors, buffers = everything[: -len(names)], dict(zip(names, everything[-len(names) :], strict=True))
        if torch.is_grad_enabled() or intercepted((d_out, *d_after)):
            with torch.enable_grad():
                u = run.project()
            d_u, _, _, *others = twice(run, [u, None, None, *tensors], [d_out, *d_after])
            return (None, None, d_u, *others)
        with torch.cuda.device_of(d_out):
            return (None, None, *_gradients(run, kernel, tensors, buffers, d_out.contiguous(), d_after))


def _kept(states: int) -> list[Buffer]:
    """The buffers written by the forward step that the backward step may read."""
    return [KEPT, SAVED, OUT, *(Buffer(Kind.AFTER, k) for k in range(states))]


def _values(
    run: Run[Any], kernel: Kernel, u: Tensor, state: Sequence[Tensor], fresh: Sequence[Tensor], weights: Weights
) -> tuple[Buffers, list[Tensor]]:
    """Everything that the forward steps write, and the last states."""
    made, total = kernel.program, len(u)
    buffers = {U: u, OUT: u.new_empty(total, made.outputs), **_vectors(made, weights)}
    buffers[SAVED] = u.new_empty(total if run.keep else 0, made.saved)
    buffers[KEPT] = u.new_empty(total if run.keep and made.over_u else 0, made.inputs)
    sequence = _Sequence(run, kernel, state, fresh, buffers)
    for k, initial in enumerate(state):
        rows = 2 * len(initial) if sequence.ring(k) else total
        buffers[Buffer(Kind.AFTER, k)] = buffers[OUT] if k == 0 and made.aliased else u.new_empty(rows, made.states[k])
    kind = "keep" if run.keep else "bare"
    if kernel.walks:
        final = [torch.empty_like(tensor) for tensor in state]
        buffers.update((Buffer(Kind.FINAL, k), tensor) for k, tensor in enumerate(final))
        sequence.walk(kind)
    else:
        sequence.forward(kind, weights)
        final = [sequence.final(k) for k in range(len(state))]
    return buffers, final


def _gradients(
    run: Run[Any], kernel: Kernel, tensors: Sequence[Tensor], buffers: Buffers, d_out: Tensor, d_after: Sequence[Tensor]
) -> list[Tensor]:
    """By u, the states, the fresh states and the weights."""
    made, total = kernel.program, len(d_out)
    state, fresh, weights = run.parted([tensor.detach().contiguous() for tensor in tensors])
    buffers |= {D_OUT: d_out, D_U: d_out.new_empty(total, made.inputs), **_vectors(made, weights)}
    buffers |= {Buffer(Kind.D_PRODUCT, k): d_out.new_empty(total, rows) for k, rows in enumerate(made.products)}
    buffers |= {Buffer(Kind.D_STATE, k): gradient.contiguous().clone() for k, gradient in enumerate(d_after)}
    buffers |= {Buffer(Kind.D_FRESH, k): torch.zeros_like(tensor) for k, tensor in enumerate(fresh)}
    buffers[D_PARAM] = d_out.new_zeros(kernel.blocks(len(state[0])), made.width(D_PARAM))
    sequence = _Sequence(run, kernel, state, fresh, buffers)
    if kernel.walks:
        sequence.walk("back")
    else:
        sequence.backward(weights)
    after = [buffers[Buffer(Kind.AFTER, k)] for k in range(len(state))]
    d_weights = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for one in made.weights:
        into = d_weights[one.param][one.row : one.row + one.rows, one.column : one.column + one.columns]
        for gradient, operand in _pairs(run.layout, one, buffers, after, state, fresh):
            into.addmm_(gradient[:, : one.rows].t(), operand[:, : one.columns])
    add_vectors(made, d_weights, buffers[D_PARAM])
    given = ((Kind.D_STATE, state), (Kind.D_FRESH, fresh))
    states = [buffers[Buffer(kind, k)] for kind, tensors in given for k in range(len(tensors))]
    return [buffers[D_U], *states, *d_weights.values()]


def _pairs(
    layout: Layout,
    one: WeightGradient,
    buffers: Buffers,
    after: Sequence[Tensor],
    state: Sequence[Tensor],
    fresh: Sequence[Tensor],
) -> list[tuple[Tensor, Tensor]]:
    """(gradients of the product's result, operands), row by row, in as few matrices as possible."""
    gradient = buffers[one.gradient.buffer][:, one.gradient.offset :]
    if one.operand.buffer.kind is not Kind.BEFORE:
        return [(gradient, buffers[one.operand.buffer][:, one.operand.offset :])]
    k = one.operand.buffer.state
    batch = len(state[k])
    index = layout.before(batch)
    if index is None:
        rest = len(gradient) - batch
        pairs = [(gradient[:batch], state[k]), (gradient[batch:], after[k][:rest])]
    else:
        states = torch.cat([after[k], state[k], *fresh[k : k + 1]])
        pairs = [(gradient, states.index_select(0, index.to(states.device)))]
    return [(left, right[:, one.operand.offset :]) for left, right in pairs]


def _vectors(made: Program, weights: Weights) -> Buffers:
    """The vector parameters, by their names in the plan."""
    return {
        Buffer(Kind.PARAM, i): weights[name].view(-1)[offset : offset + width]
        for i, (name, offset, width) in enumerate(made.params)
    }


@dataclass
class _Sequence:
    """One call: the buffers, and where the state before each step is."""

    run: Run[Any]
    kernel: Kernel
    state: Sequence[Tensor]
    fresh: Sequence[Tensor]
    buffers: Buffers

    def __post_init__(self) -> None:
        layout = self.run.layout
        self.counts, self.offsets = layout.counts.tolist(), layout.offsets.tolist()
        self.anew = _steps_anew(layout)
        if self.run.mask is not None:
            self.buffers[MASK] = self.run.mask.contiguous()

    def ring(self, k: int) -> bool:
        """Whether only the last two values of a state are stored."""
        return not self.run.keep and not (k == 0 and self.kernel.program.aliased)

    def final(self, k: int) -> Tensor:
        """A state after each row's own last step."""
        return final_state(self.run.layout, self.buffers[Buffer(Kind.AFTER, k)], self.state[k], self.ring(k))

    def at(self, t: int) -> dict[str, int]:
        """The numbers of a step; also adds the state before it to the buffers."""
        count, batch = self.counts[t], len(self.state[0])
        numbers = {"rows": count, "offset": self.offsets[t]}
        for k, initial in enumerate(self.state):
            ring, stored, start = self.ring(k), Buffer(Kind.AFTER, k), Buffer(Kind.BEFORE, k)
            after = self.buffers[stored]
            numbers[first_row(stored)] = t % 2 * batch if ring else self.offsets[t]
            before, begin = (after, (t - 1) % 2 * batch if ring else self.offsets[t - 1]) if t > 0 else (initial, 0)
            if t in self.anew:
                before, begin = torch.where(self.mask(t), self.fresh[k][:count], before[begin : begin + count]), 0
            self.buffers[start], numbers[first_row(start)] = before, begin
        return numbers

    def mask(self, t: int) -> Tensor:
        """bool [rows, 1]: which rows are reset before a step."""
        assert self.run.layout.reset is not None
        return self.run.layout.reset[self.offsets[t] : self.offsets[t] + self.counts[t]].bool().unsqueeze(1)

    def forward(self, kind: str, weights: Weights) -> None:
        """All steps."""
        self._scratch()
        matrices = self.kernel.matrices(kind, weights)
        for t in range(len(self.counts)):
            self.kernel.step(kind, self.buffers, self.at(t), matrices)

    def backward(self, weights: Weights) -> None:
        """All steps, from the last to the first. Rows not reached yet have their gradient in both buffers."""
        self._scratch()
        buffers, states = self.buffers, [Buffer(Kind.D_STATE, k) for k in range(len(self.state))]
        buffers.update({Buffer(Kind.D_NEXT, state.number): buffers[state].clone() for state in states})
        matrices = self.kernel.matrices("back", weights)
        for t in reversed(range(len(self.counts))):
            self.kernel.step("back", buffers, self.at(t), matrices)
            for state in states:
                following = Buffer(Kind.D_NEXT, state.number)
                buffers[state], buffers[following] = buffers[following], buffers[state]
                if t in self.anew:
                    count, mask, gradient = self.counts[t], self.mask(t), buffers[state]
                    buffers[Buffer(Kind.D_FRESH, state.number)][:count] += gradient[:count].masked_fill(~mask, 0)
                    gradient[:count].masked_fill_(mask, 0)

    def _scratch(self) -> None:
        first = self.state[0]
        self.buffers[SCRATCH] = first.new_empty(len(first), self.kernel.program.scratch)

    def walk(self, kind: str) -> None:
        """All steps in one call."""
        layout, device = self.run.layout, self.state[0].device
        buffers = self.buffers | {COUNTS: layout.counts.to(device), OFFSETS: layout.offsets.to(device)}
        buffers |= {Buffer(Kind.INITIAL, k): tensor for k, tensor in enumerate(self.state)}
        buffers |= {Buffer(Kind.FRESH, k): tensor for k, tensor in enumerate(self.fresh)}
        buffers |= {} if layout.reset is None else {RESET: layout.reset}
        numbers = {"steps": len(self.counts), "batch": len(self.state[0])}
        self.kernel.launch(
            self.kernel.walks[kind], len(self.state[0]), buffers, numbers, RESET=layout.reset is not None
        )


def _steps_anew(layout: Layout) -> frozenset[int]:
    """The steps before which some row is reset."""
    if layout.reset is None:
        return frozenset()
    time = torch.repeat_interleave(torch.arange(len(layout.counts)), layout.counts)
    return frozenset(time[layout.reset.cpu().bool()].tolist())
