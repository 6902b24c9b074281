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
    dimension is called the extent, () or (Y, X), and is carried along unseen by everything outside the cell.

    Attributes:
        input_size: D, features (or channels) of an input row.
        hidden_size: H, units (or channels) of the cell.
        output_size: features (or channels) of an output row; H unless the cell says otherwise.
        state_shapes: name -> shape of each state tensor of one row, without batch and extent; "hidden" comes first.
        extent_dims: how many dimensions a row's extent has: 0 for vectors, 2 for maps [C, Y, X].
        fixed_states: names of states whose initial value is part of the equations and is never learned.
        recurrent_weights: names of the parameters of W: what weight drop and the orthogonal initialisation act on.
        activation_names: what the squashing functions of `step` are, in the order of its calls ("forget gate",
            "candidate"), for the gradient microscope; without names they go by their function.
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
        third, optional argument `mask` [B, H], to be multiplied onto the hidden state there and nowhere else.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(u, state)")

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of the cell alone, from the input itself: x [B, D, *extent] -> output and state."""
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
            u: [T, B, P, *extent], from `project`; it is the projection of zeros past the end of a row.
            state: the state before the first step.
            lengths: [B], on the CPU; a row's returned state is that at its own last step, `state` for length 0.
            reset: bool [T, B]; where true, the row's state is replaced by its row of `fresh` before that step.
                Never true past the end of a row.
            fresh: the state of a row that is reset; given whenever `reset` is.

        Returns:
            output [T, B, H, *extent] (what stands past a row's end does not matter, but must be finite) and the state.
        """
        return loop(self.step, u, state, lengths=lengths, reset=reset, fresh=fresh)

    def initial(self, batch: int, extent: tuple[int, ...] = ()) -> State:
        """The state before the first step: zeros [batch, *shape, *extent] in the parameters' dtype and device."""
        like = any_weight(self)
        return tuple(like.new_zeros(batch, *shape, *extent) for shape in self.state_shapes.values())

    def reset_parameters(self) -> None:
        """All parameters uniform in +-1/sqrt(H), as torch.nn's recurrent layers are."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    def set_memory(self, keep: Tensor, write: Tensor | None = None) -> None:
        """Sets gate biases so that, other inputs being zero, unit j keeps the share sigmoid(keep[j]) of its memory.

        `write` is the bias of a separate gate that lets new values in, for the cells that have one. Both [H].
        Used by the initialisations "forget" and "chrono".

        Raises:
            ValueError: the cell has no such gate or no biases.
        """
        raise ValueError(f"{type(self).__name__} has no gate that keeps its memory")

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: all but the kernels, which are of this process and made where they are needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernels"}

    def extra_repr(self) -> str:
        """The configuration. A cell with options lists them all: a saved state is refused where they differ."""
        return f"{self.input_size}, {self.hidden_size}"


def masked(cell: Cell, mask: Tensor | None) -> Step:
    """`cell.step`, with the mask of variational dropout on its hidden state where one is given."""
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

    The yielded states are the very tensors that the next step reads, so gradients with respect to them are
    the total derivatives through all later steps.
    """
    lengths = None if lengths is None else lengths.to(u.device)
    for t, u_t in enumerate(u.unbind(0)):
        if reset is not None and fresh is not None:
            state = where(reset[t], fresh, state)
        output, after = step(u_t, state)
        # A row past its end is frozen rather than run on: its state could grow without bound and poison the gradient.
        state = after if lengths is None else where(t < lengths, after, state)
        yield output, state


def any_weight(cell: Cell) -> Tensor:
    """A parameter of the cell, for its dtype and device; asked in every call, where a walk over modules is dear."""
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
    """Rows of `chosen` where mask [B] is true, else of `other`, for every tensor [B, ...] of the two states."""
    return tuple(torch.where(expand_right(mask, a), a, b) for a, b in zip(chosen, other, strict=True))


def last_state(states: State, before: State, lengths: Tensor | None) -> State:
    """Each row's state at its own last step, from all of them: states [T, B, ...], before [B, ...], lengths [B].

    For cells that compute all states at once; `before` answers for rows of length 0.
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
    """The value, or a ValueError that names it when it is not a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return value
