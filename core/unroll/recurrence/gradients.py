"""The gradient microscope: ||de_t/dS_k|| for sampled t and all k <= t, and which lags dE/dW and dE/dU come from.

    with record(model.eval()) as calls:
        loss = ...
    for cell in gradients(loss, longest(calls["rnn"])):
        cell.decay("hidden").reach()

E is the loss, O_t the output of the network at step t. The error of step t is the part of E that goes through O_t,
e_t = <dE/dO_t, O_t>; if E is a sum of one error per step, as in the derivation (DESIGN, section 1), this is that e_t,
as far as gradients go. The part of E that goes through the returned state counts as one more error, at each row's end.

Steps are numbered as in the derivation: 1 to T, and S_0 is the initial state. A bidirectional network's backward cells
are numbered in the order in which they read: their step 1 is a row's last.

Every sampled error (a row b and a step t) becomes a row of one new batch, which the network runs once, forward and
backward, step by step. The cost is one training step on as many rows; memory is linear in T.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad, grad

from unroll.recurrence.cell import State, expand_right
from unroll.recurrence.decay import Decay
from unroll.recurrence.recording import Call, CellRecording
from unroll.recurrence.state import tensors

DIRECTIONS = ("forward", "backward")


class NotRead(ValueError):  # noqa: N818
    """The loss does not depend on the call."""


@dataclass
class CellGradients:
    """The gradients that reach one cell from R sampled errors, over T steps, in float64 on the CPU.

    Attributes:
        trace: the recording of the cell.
        rows: [R], the row of the batch of each error.
        lengths: [R], steps of that row.
        at: [R], the step t of each error in the cell's own order.
        since: [R], the smallest k that this error can depend on: 0, or the step at which the row was reset.
        norms: state name -> [T + 1, R]: ||de_t/dS_k|| at index k. Zero for k > t, except below a layer that reads the
            other way.
        shares: "W", "U" -> [T + 1, R]: the inner product of the term (t, k) of the double sum with the whole sum,
            divided by the square of the whole sum, so that all terms add up to 1. A term that points against the sum
            is negative. Missing if the cell does not have these weights or they get no gradient.
    """

    trace: CellRecording
    rows: Tensor
    lengths: Tensor
    at: Tensor
    since: Tensor
    norms: dict[str, Tensor]
    shares: dict[str, Tensor] = field(default_factory=dict)

    @property
    def cell(self) -> str:
        """Name of the cell's class."""
        return type(self.trace.cell).__name__

    @property
    def name(self) -> str:
        """A readable name: "layer 2, backward"."""
        return f"layer {self.trace.layer + 1}" + (", backward" if self.trace.direction else "")

    def decay(self, state: str) -> Decay:
        """How much is left of the gradient at lag t - k, relative to lag 0, over all errors."""
        return Decay.of(self._by_lag(self.norms[state]))

    def longest(self) -> tuple[str, Decay]:
        """The state through which the gradient reaches furthest, and its decay.

        Raises:
            ValueError: no gradient reaches this cell.
        """
        decays = {name: self.decay(name) for name, norms in self.norms.items() if bool((norms > 0).any())}
        if not decays:
            raise ValueError(f"no gradient at all reaches {self.name}")
        return max(decays.items(), key=lambda item: (item[1].reach()[0], item[1].area))

    def share_by_lag(self, weight: str) -> Tensor:
        """[T + 1]: the share of dE/dW ("W") or dE/dU ("U") that comes from lag 0, 1, ..., T; they add up to 1.

        In a bidirectional stack e_t also depends on later steps of a lower cell, through the other direction: they
        count by their distance.
        """
        shares = self.shares[weight]
        lag = (self.at - torch.arange(len(shares))[:, None]).abs()
        return torch.zeros(len(shares), dtype=shares.dtype).index_add(0, lag.flatten(), shares.flatten())

    def share_from(self, weight: str, lag: int) -> float:
        """The share that comes from this lag and longer ones."""
        return float(self.share_by_lag(weight)[lag:].sum())

    def matrix(self, state: str) -> tuple[Tensor, Tensor]:
        """The sampled steps t [N], and ||de_t/dS_k|| [N, T + 1], averaged over rows; NaN where no row has (t, k)."""
        k = torch.arange(len(self.norms[state]))[:, None]
        norms = self.norms[state].masked_fill((k > self.at) | (k < self.since), math.nan)
        times = torch.unique(self.at)
        return times, torch.stack([norms[:, self.at == t].nanmean(1) for t in times])

    def _by_lag(self, values: Tensor) -> Tensor:
        """[T + 1, R] by k -> the same by lag t - k; NaN where there is no such lag."""
        k = self.at - torch.arange(len(values))[:, None]
        return values.gather(0, k.clamp(min=0)).masked_fill(k < self.since, math.nan)[: int(self.at.max()) + 1]


def gradients(loss: Tensor, call: Call, rows: int = 4, targets: int = 8, shares: bool = True) -> list[CellGradients]:
    """Traces the loss back to every state of a recorded call, for each cell of the network.

    Args:
        loss: scalar, computed from the call's outputs or its returned state. Its graph is kept.
        call: from `record`.
        rows: how many rows of the batch to examine, evenly spaced.
        targets: how many t to sample in each, evenly spaced over the steps at which the loss reads the output,
            including the last one.
        shares: whether to split the double sum by lag, too.

    Raises:
        NotRead: the loss does not depend on this call.
        ValueError: the call cannot be rerun; the message says why.
    """
    errors = _errors(loss, call, rows, targets)
    output, state, traces = call.again(errors.rows)
    columns = [[*_columns([trace.before[0], *trace.made]), *_columns(trace.nodes)] for trace in traces]
    states = [tensor for trace in columns for column in trace for tensor in column]
    fed = errors.fed(output, state)
    found = iter(grad(list(fed), states, list(fed.values()), retain_graph=True, materialize_grads=True))
    results = []
    for trace, parts in zip(traces, columns, strict=True):
        stacked = [torch.stack([next(found) for _ in column]) for column in parts]
        whole, partial = stacked[: len(parts) // 2], stacked[len(parts) // 2 :]
        at = errors.at(trace.direction)
        norms = {name: _norm(values) for name, values in zip(trace.cell.state_shapes, whole, strict=True)}
        shared = {w: _shares(trace, partial, names) for w, names in _weights(trace).items()} if shares else {}
        since = _since(call, trace.direction, errors.rows, at)
        kept = {weight: share for weight, share in shared.items() if share is not None}
        results.append(CellGradients(trace, errors.rows, errors.lengths, at, since, norms, kept))
    return results


@dataclass
class _Errors:
    """The sampled errors, and the gradients of the loss that define them."""

    rows: Tensor
    """[R], in the batch"""
    step: Tensor
    """[R], t in the order of time; 0 where the error is of the returned state"""
    lengths: Tensor
    """[R], steps of these rows"""
    outputs: Tensor
    """dE/dO [T, B, ...]"""
    state: Sequence[Tensor]
    """dE/d(returned state), [L, B, ...]"""

    def at(self, direction: int) -> Tensor:
        """[R], the step in the order of the direction."""
        step = self.lengths + 1 - self.step if direction else self.step
        return torch.where(self.step > 0, step, self.lengths)

    def fed(self, output: Tensor, state: Any) -> dict[Tensor, Tensor]:
        """The gradients to feed into the results of a run of these rows: each row gets only its own error."""
        here = (torch.arange(1, len(output) + 1)[:, None] == self.step).to(output.device)
        rows = self.rows.to(output.device)
        fed = {output: self.outputs.index_select(1, rows) * expand_right(here, output)}
        end = (self.step == 0).to(output.device)
        for root, value in zip(tensors(state), self.state, strict=True):
            if bool(end.any()) and root.requires_grad:
                fed[root] = value.index_select(1, rows) * expand_right(end, root[0])
        return fed


def _errors(loss: Tensor, call: Call, rows: int, targets: int) -> _Errors:
    results = [*call.outputs, *tensors(call.state)]
    wanted = [tensor for tensor in results if tensor.requires_grad]
    felt = dict(zip(wanted, grad(loss, wanted, retain_graph=True, allow_unused=True), strict=True)) if wanted else {}
    values = [torch.zeros_like(r) if (g := felt.get(r)) is None else g.detach() for r in results]
    outputs, state = torch.cat(values[: len(call.outputs)]), values[len(call.outputs) :]
    read = outputs.flatten(2).ne(0).any(2).cpu()
    ends = torch.stack([value.transpose(0, 1).flatten(1).ne(0).any(1) for value in state]).any(0).cpu()
    chosen = (read.any(0) | ends).nonzero().flatten()
    if not len(chosen):
        raise NotRead("the loss does not depend on this call of the network")
    pairs = []
    for row in chosen[_spread(len(chosen), rows)].tolist():
        steps = read[:, row].nonzero().flatten() + 1
        pairs += [(row, int(step)) for step in steps[_spread(len(steps), targets)]] + [(row, 0)] * int(ends[row])
    row, step = torch.tensor(pairs).unbind(1)
    return _Errors(row, step, call.lengths.cpu()[row], outputs, state)


def _spread(count: int, many: int) -> list[int]:
    """`many` of the numbers below `count`, evenly spaced, including the last one; all if there are no more."""
    many = min(many, count)
    return [-(-(index + 1) * count // many) - 1 for index in range(many)]


def _since(call: Call, direction: int, rows: Tensor, at: Tensor) -> Tensor:
    """[R], the last step before which the row was reset, up to step `at`; 0 for none."""
    reset = call.resets(direction)
    if reset is None:
        return torch.zeros_like(at)
    steps = torch.arange(1, len(reset) + 1)[:, None]
    begins = torch.where(reset.cpu(), steps, 0).cummax(0).values
    since: Tensor = begins[at - 1, rows]
    return since


def _norm(values: Tensor) -> Tensor:
    """[T, R, ...] -> [T, R] in float64."""
    norms: Tensor = torch.linalg.vector_norm(values.double().flatten(2), dim=2).cpu()
    return norms


def _shares(trace: CellRecording, partial: Sequence[Tensor], names: Mapping[str, Tensor]) -> Tensor | None:
    """[T + 1, R]: the shares of the terms (t, k) of the gradient of these weights; None if it is zero or infinite.

    Let G be the gradient, the sum of all terms, and D_k = (d+S_k/dW) G / ||G||^2, the change of S_k when W moves along
    G and S_{k-1} is held constant. The share is <de_t/dS_k, D_k>: one forward-mode derivative covers all (t, k).
    """
    feed = [values.flatten(0, 1) for values in partial]
    with torch.enable_grad():
        made = _steps(trace)
    moving = [i for i, tensor in enumerate(made) if tensor.requires_grad]
    weights = list(names.values())
    whole = grad([made[i] for i in moving], weights, [feed[i] for i in moving], materialize_grads=True)
    square = sum(float(g.double().square().sum()) for g in whole)
    if not 0 < square < math.inf:
        return None
    size = math.sqrt(square)
    moved = _moved(trace, {name: g / size for name, g in zip(names, whole, strict=True)})
    terms = [(g.double() / size * m).flatten(1).sum(1) for g, m in zip(feed, moved, strict=True)]
    total = torch.stack(terms).sum(0).reshape(trace.x.shape[:2]).cpu()
    return torch.cat([torch.zeros_like(total[:1]), total])


def _weights(trace: CellRecording) -> dict[str, dict[str, Tensor]]:
    """The cell's parameters that make up W and U, by name, without biases and gains."""
    wanted: dict[str, Tensor] = {name: p for name, p in trace.cell.named_parameters(recurse=False) if p.requires_grad}
    recurrent = {name: p for name, p in wanted.items() if name in trace.cell.recurrent_weights}
    others = {name: p for name, p in wanted.items() if name.startswith("weight") and name not in recurrent}
    return {weight: names for weight, names in (("W", recurrent), ("U", others)) if names}


def _steps(trace: CellRecording) -> State:
    """All steps at once, as rows of one step [T x R, ...]: each starts from the state that it actually read."""
    before = tuple(torch.stack(column).detach().flatten(0, 1) for column in _columns(trace.before))
    return trace.step(trace.cell.project(trace.x).flatten(0, 1), before)[1]


def _moved(trace: CellRecording, directions: Mapping[str, Tensor]) -> list[Tensor]:
    """d+S_k/dweights along the given directions, for each tensor of the state: [T x R, ...] in float64."""
    raw = {name: trace.cell._parameters[name] for name in directions}
    with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
        # Forward mode scripts its decompositions on first use, which torch itself deprecates.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        try:
            for name, direction in directions.items():
                trace.cell._parameters[name] = _make_dual(trace.cell.get_parameter(name).detach(), direction)
            parts = [_unpack_dual(tensor) for tensor in _steps(trace)]
            return [(torch.zeros_like(p.primal) if p.tangent is None else p.tangent).double() for p in parts]
        finally:
            trace.cell._parameters.update(raw)


def _columns(states: Sequence[State]) -> list[list[Tensor]]:
    """States of several steps -> one list over the steps for each tensor of the state."""
    return [list(column) for column in zip(*states, strict=True)]


# torch has no types for these.
_make_dual: Any = forward_ad.make_dual
_unpack_dual: Any = forward_ad.unpack_dual
