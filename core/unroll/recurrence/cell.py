"""The contract of a recurrent cell: S_t = f(U x_t + W S_{t-1}), split where it can be made fast.

`project` is the whole input side (U x_t) of all steps at once, one large product. `step` is one time step. A new cell
writes these two and says what its state looks like; stacking, directions, lengths, resets, dropout, streaming and
truncated BPTT come from `Recurrent`.

    class Leaky(Cell):
        def __init__(self, input_size, hidden_size):
            super().__init__(input_size, hidden_size)
            self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
            self.reset_parameters()

        def project(self, x):
            return F.linear(x, self.weight_ih)

        def step(self, u, state):
            hidden = 0.9 * state[0] + 0.1 * torch.tanh(u)
            return hidden, (hidden,)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""The state of ONE cell: tensors [B, ...], the hidden state first."""

Step = Callable[[Tensor, State], tuple[Tensor, State]]


class Cell(nn.Module):
    """One recurrent layer in one direction.

    A row may be a vector (x [T, B, D]) or a map of features (x [T, B, D, Y, X]): whatever follows the feature
    dimension is called the extent, () or (Y, X), and is passed through by everything outside the cell.

    Attributes:
        input_size: D, features (or channels) of an input row.
        hidden_size: H, units (or channels) of the cell.
        output_size: features (or channels) of an output row; H by default.
        state_shapes: name -> shape of each state tensor of one row, without batch and extent; "hidden" comes first.
        extent_dims: how many dimensions a row's extent has: 0 for vectors, 2 for maps [C, Y, X].
        fixed_states: names of states whose initial value is part of the equations and is never learned.
        recurrent_weights: names of the parameters of W: what weight drop and the orthogonal initialisation act on.
        activation_names: names of the squashing functions that `step` calls, in order ("forget gate", "candidate"),
            for the gradient microscope; without them it uses the functions' own names.
    """

    recurrent_weights: tuple[str, ...] = ("weight_hh",)
    fixed_states: tuple[str, ...] = ()
    extent_dims: int = 0
    activation_names: tuple[str, ...] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        output_size: int | None = None,
        state_shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.output_size = hidden_size if output_size is None else positive("output_size", output_size)
        self.state_shapes = dict(state_shapes or {"hidden": (hidden_size,)})

    def project(self, x: Tensor) -> Tensor:
        """The input side of all steps at once: x [T, B, D, *extent] -> u [T, B, P, *extent]; u_t sees only x_t."""
        raise NotImplementedError(f"{type(self).__name__} must define project(x)")

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: u [B, P, *extent] and the state before it -> output [B, H, *extent] and the state after it.

        A cell that can drop its hidden state on the way into the recurrent product only (variational dropout) takes a
        third, optional argument `mask` [B, H], which multiplies the hidden state there and nowhere else.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(u, state)")

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of the cell alone, including `project`: x [B, D, *extent] -> output and state."""
        return self.step(self.project(x.unsqueeze(0))[0], state)

    def sequence(
        self,
        u: Tensor,
        state: State,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        fresh: State | None = None,
    ) -> tuple[Tensor, State]:
        """All steps: the loop over `step`. A cell with a path that is parallel in time overrides this.

        Args:
            u: [T, B, P, *extent], from `project`; past a row's end it is the projection of zeros.
            state: the state before the first step.
            lengths: [B], on the CPU; a row's returned state is the one after its last step, or `state` for length 0.
            reset: bool [T, B]; where true, the row's state is replaced by its row of `fresh` before that step.
                Never true past the end of a row.
            fresh: the state that rows are reset to; given whenever `reset` is.

        Returns:
            output [T, B, H, *extent] (ignored past a row's end, but must be finite there) and the state.
        """
        return loop(self.step, u, state, lengths=lengths, reset=reset, fresh=fresh)

    def initial(self, batch: int, extent: tuple[int, ...] = ()) -> State:
        """The state before the first step: zeros [batch, *shape, *extent] in the parameters' dtype and device."""
        like = any_weight(self)
        return tuple(like.new_zeros(batch, *shape, *extent) for shape in self.state_shapes.values())

    def reset_parameters(self) -> None:
        """Draws all parameters uniformly from +-1/sqrt(H), as torch.nn's recurrent layers do."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """Sets gate biases so that, with no other input to the gate, unit j keeps sigmoid(keep[j]) of its memory.

        `write` is the bias of the input gate, for cells that have a separate one. Both are [H].
        Used by the initialisations "forget" and "chrono".

        Raises:
            ValueError: the cell has no such gate or no biases.
        """
        raise ValueError(f"{type(self).__name__} has no gate that keeps its memory")

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: everything but the kernels, which belong to this process; made on demand."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernels"}

    def extra_repr(self) -> str:
        """The configuration. A cell with options lists them all: a saved state is refused if they differ."""
        return f"{self.input_size}, {self.hidden_size}"


def masked(cell: Cell, mask: Tensor | None) -> Step:
    """`cell.step`, with the variational dropout mask applied to its hidden state if one is given."""
    step: Callable[..., tuple[Tensor, State]] = cell.step
    return step if mask is None else lambda u, before: step(u, before, mask)


def steps(
    step: Step,
    u: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
) -> Iterator[tuple[Tensor, State]]:
    """Yields (output, state) after each time step; arguments as in `Cell.sequence`.

    The yielded states are the same tensors that the next step reads, so gradients with respect to them are
    total derivatives through all later steps.
    """
    lengths = None if lengths is None else lengths.to(u.device)
    for t, u_t in enumerate(u.unbind(0)):
        if reset is not None and fresh is not None:
            state = where(reset[t], fresh, state)
        output, after = step(u_t, state)
        # A row is frozen past its end: if it kept running, its state could grow without bound and poison the gradient.
        state = after if lengths is None else where(t < lengths, after, state)
        yield output, state


def any_weight(cell: Cell) -> Tensor:
    """A parameter of the cell, for its dtype and device; called on every forward pass, so it avoids walking modules."""
    own = (weight for weight in cell._parameters.values() if weight is not None)
    weight = next(own, None)
    return next(cell.parameters()) if weight is None else weight


def loop(
    step: Step,
    u: Tensor,
    state: State,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    fresh: State | None = None,
) -> tuple[Tensor, State]:
    """The oracle of every faster path: one call of `step` per time step. Arguments and result as in `Cell.sequence`."""
    outputs, states = zip(*steps(step, u, state, lengths=lengths, reset=reset, fresh=fresh), strict=True)
    return torch.stack(outputs), states[-1]


def where(mask: Tensor, chosen: State, other: State) -> State:
    """Rows of `chosen` where mask [B] is true, else of `other`, for each tensor [B, ...] of the two states."""
    return tuple(torch.where(expand_right(mask, a), a, b) for a, b in zip(chosen, other, strict=True))


def last_state(states: State, before: State, lengths: Tensor | None) -> State:
    """Each row's state at its own last step, from all of them: states [T, B, ...], before [B, ...], lengths [B].

    For cells that compute all states at once; rows of length 0 get `before`.
    """
    if lengths is None:
        return tuple(tensor[-1] for tensor in states)
    lengths = lengths.to(before[0].device)
    rows = torch.arange(lengths.shape[0], device=lengths.device)
    last = tuple(tensor[(lengths - 1).clamp(min=0), rows] for tensor in states)
    return where(lengths > 0, last, before)


def expand_right(mask: Tensor, like: Tensor) -> Tensor:
    """mask [...] with ones appended to its shape until it broadcasts against `like` from the left."""
    return mask.reshape(mask.shape + (1,) * (like.dim() - mask.dim()))


def positive(name: str, value: int) -> int:
    """Returns the value; raises a ValueError that names it unless it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return value
