"""Recurrent: layers, directions, lengths, resets and dropout over any cell."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import one_step
from unroll.recurrence.cell import Cell, State, Step, loop, masked, positive
from unroll.recurrence.checks import check_input, check_lengths, check_reset, check_state
from unroll.recurrence.context import compiled_around, interceptor, plain
from unroll.recurrence.dropout import mask_like, rate, rates, weights_dropped, zoned
from unroll.recurrence.init import Initialiser, initialise
from unroll.recurrence.kernels import dispatch
from unroll.recurrence.kernels.dispatch import BACKENDS
from unroll.recurrence.made_weights import made
from unroll.recurrence.registry import CellFactory, make_cell
from unroll.recurrence.row_mask import RowMask


class StepObserver(Protocol):
    """Observes every step of every cell while the network runs: `Recurrent.observer = ...`. See recording.record."""

    def began(self, x: Tensor, state: Any, row_mask: RowMask) -> None:
        """Called at the start of a forward pass with its input [T, B, D, *extent], state, lengths and resets."""

    def step_of(self, cell: Cell, step: Step, x: Tensor) -> Step | None:
        """The function to run instead of `step` for this cell in this call; None leaves the path unchanged.

        x [T, B, ...] is the cell's whole input, in the order in which the cell reads it.
        """

    def ended(self, output: Tensor, state: Any) -> None:
        """Called at the end of the forward pass with its results."""


class Recurrent(nn.Module):
    """A recurrent network built from any cell.
        output, state = recurrent(x, state, lengths=lengths, reset=reset)

    Args:
        cell: a name (see CELLS), a Cell class, or a function (input_size, hidden_size, **options) -> Cell.
        input_size: D, features (channels) of x.
        hidden_size: H, one number for all layers or one per layer.
        layers: how many layers are stacked.
        bidirectional: a second set of cells reads each row backwards from its own end; outputs are concatenated.
        dropout: probability of dropping an element between two layers.
        variational: probability of dropping a feature at every step of a sequence; one number, or one each for
            (the network's input, between layers, the hidden state on its way into the recurrent product).
        zoneout: probability that a unit keeps its old value; one number, or one each for (hidden, cell) state.
        weight_drop: probability of dropping an entry of the recurrent weights, once per call.
        residual: from the second layer on, a layer's input is added to its output.
        skip: from the second layer on, a layer also reads the network's input x (Graves 2013).
        init: name(s) of initialisations or functions on a cell, applied in order; see unroll.recurrence.init.
        learn_initial: the initial state is a parameter, the same for every row.
        batch_first: x and output are [B, T, ...], as in torch.nn; reset and the state keep their shapes.
        backend: "auto" takes the fastest path, "eager" the loop over `step`, the oracle of the others; see
            unroll.recurrence.kernels.dispatch. `ran` names the one used in the last call.
        cell_options: passed on to each cell.

    Raises:
        ValueError, TypeError: an invalid argument; the message names it.
    """

    observer: StepObserver | None = None

    def __init__(
        self,
        cell: str | CellFactory,
        input_size: int,
        hidden_size: int | Sequence[int],
        layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        variational: float | tuple[float, float, float] = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        weight_drop: float = 0.0,
        residual: bool = False,
        skip: bool = False,
        init: str | Initialiser | Sequence[str | Initialiser] | None = None,
        learn_initial: bool = False,
        batch_first: bool = False,
        backend: str = "auto",
        **cell_options: Any,
    ) -> None:
        super().__init__()
        self.input_size = positive("input_size", input_size)
        self.hidden_sizes = _per_layer(hidden_size, layers)
        self.layers = len(self.hidden_sizes)
        self.directions = 2 if bidirectional else 1
        self.dropout = rate("dropout", dropout)
        self.variational = rates("variational", variational, ("input", "between layers", "hidden state"))
        hidden_rate, cell_rate = rates("zoneout", zoneout, ("hidden", "cell"))
        self.zoneout = (hidden_rate, cell_rate)
        self.weight_drop = rate("weight_drop", weight_drop)
        self.residual, self.skip, self.batch_first = residual, skip, batch_first
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        self.backend = backend
        self.ran = ""
        self.name = cell if isinstance(cell, str) else getattr(cell, "__name__", type(cell).__name__)
        self.cells = nn.ModuleList(self._make_cells(cell, cell_options))
        for one in self._cells():
            initialise(one, init)
        self.learned = nn.ParameterDict(self._learned_states() if learn_initial else {})
        self.output_size = self._cell(-1).output_size * self.directions
        self._check_options(zoneout)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Any = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """A whole sequence, or the next chunk of one.

        Args:
            x: [T, B, D, *extent], or [B, T, D, *extent] with batch_first.
            state: what the previous call returned, or None for the initial state.
            lengths: whole numbers [B], 0 to T: steps of each row. A sequence or a tensor, preferably on the CPU:
                reading one from a GPU synchronises.
            reset: bool [T, B]: rows whose state becomes the initial state before that step (a new document or session
                begins). In the backward direction the row is reset on the other side of the same boundary.

        Returns:
            output [T, B, H x directions, *extent], or with batch_first [B, T, ...], exactly zero past a row's end, and
            the state: a tuple of tensors [layers x directions, B, ...], each row's after its own last step; if state
            shapes differ between layers, a tuple with one tuple of tensors per layer.

        Raises:
            ValueError, TypeError: an argument of the wrong shape, dtype or device, or a state that does not fit this
                network or holds NaN.
        """
        if self.backend != "eager" and compiled_around(x):
            result: tuple[Tensor, Any] = plain(Recurrent.forward)(self, x, state, lengths=lengths, reset=reset)
            return result
        check_input(x, self._cell(0), batch_first=self.batch_first)
        x = x.transpose(0, 1) if self.batch_first else x
        if state is not None:
            self._check_state(state, x)
        output, after = self._sequence(x, state, lengths, reset)
        return (output.transpose(0, 1) if self.batch_first else output), after

    def _sequence(self, x: Tensor, state: Any, lengths: Any, reset: Tensor | None) -> tuple[Tensor, Any]:
        """`forward` with time first, for x and a state that have been checked."""
        steps, batch = x.shape[:2]
        if lengths is not None:
            lengths = check_lengths(lengths, steps, batch)
        if reset is not None:
            reset = check_reset(reset, steps, batch, x.device)
        return self._advance(x, state, RowMask.of(x, lengths, reset), stepwise=False)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step, for streaming and decoding: x [B, D, *extent] -> output [B, H, *extent] and the state.

        Raises:
            ValueError: the network is bidirectional: its backward direction would have to see the future.
        """
        if (quick := one_step.of_network(self, x, state)) is not None:
            return quick
        if self.directions == 2:
            raise ValueError("step needs bidirectional=False: the backward direction starts at the end of the sequence")
        if self.backend != "eager" and compiled_around(x):
            result: tuple[Tensor, Any] = plain(Recurrent.step)(self, x, state)
            return result
        check_input(x.unsqueeze(0) if isinstance(x, Tensor) else x, self._cell(0))
        x = x.unsqueeze(0)
        if state is not None:
            self._check_state(state, x)
        output, state = self._advance(x, state, RowMask(), stepwise=True)
        return output[0], state

    def initial(self, batch: int, extent: tuple[int, ...] = ()) -> Any:
        """The state before the first step of `batch` rows (maps: of this extent, (Y, X)), as `forward` returns it."""
        return self.stack_states(self._fresh(batch, extent))

    def _advance(self, x: Tensor, state: Any, row_mask: RowMask, stepwise: bool) -> tuple[Tensor, Any]:
        if self.observer is not None:
            self.observer.began(x, state, row_mask)
        fresh = self._fresh(x.shape[1], tuple(x.shape[3:]))
        before = fresh if state is None else self.unstack_states(state)
        below = x = self._dropped_input(row_mask.clear(x))
        after: list[State] = []
        made_anew = self.directions == 2 or row_mask.alive is not None or (self.residual and self.layers > 1)
        given = not made_anew and torch.is_grad_enabled() and interceptor() is None
        for layer in range(self.layers):
            inputs, writable = self._layer_input(layer, below, x), given and layer == self.layers - 1
            outputs = []
            for index in range(layer * self.directions, (layer + 1) * self.directions):
                output, last = self._run(
                    index, inputs, before[index], fresh[index], row_mask=row_mask, stepwise=stepwise, writable=writable
                )
                outputs.append(output)
                after.append(last)
            output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
            below = output + below if self.residual and layer else output
        joined = self.stack_states(after)
        if self.observer is not None:
            self.observer.ended(below, joined)
        return below, joined

    def _run(
        self, index: int, x: Tensor, state: State, fresh: State, *, row_mask: RowMask, stepwise: bool, writable: bool
    ) -> tuple[Tensor, State]:
        """One cell over the sequence in its own direction; the output is in time order."""
        cell = self._cell(index)
        if index % self.directions:
            output, state = self._unroll(
                cell, row_mask.flip(x), state, fresh, row_mask=row_mask.backward(), stepwise=stepwise, writable=writable
            )
            return row_mask.flip(row_mask.clear(output)), state
        output, state = self._unroll(cell, x, state, fresh, row_mask=row_mask, stepwise=stepwise, writable=writable)
        return row_mask.clear(output), state

    def _unroll(
        self, cell: Cell, x: Tensor, state: State, fresh: State, *, row_mask: RowMask, stepwise: bool, writable: bool
    ) -> tuple[Tensor, State]:
        """Single steps, observed calls and zoneout go through the loop; everything else through `backend`."""
        where: dict[str, Any] = {"lengths": row_mask.lengths, "reset": row_mask.reset, "fresh": fresh}
        cell = made(cell)
        if self.training and self.weight_drop:
            cell = weights_dropped(cell, self.weight_drop)
        mask = mask_like(state[0], self.variational[2]) if self.training and self.variational[2] else None
        step = self._step_of(cell, mask)
        watched = None if self.observer is None else self.observer.step_of(cell, step, x)
        if stepwise or watched is not None or any(self.zoneout):
            self.ran = "eager"
            return loop(watched or step, cell.project(x), state, **where)
        output, state, self.ran = dispatch.run(
            cell, x, state, fresh, row_mask, backend=self.backend, mask=mask, writable=writable
        )
        return output, state

    def _step_of(self, cell: Cell, mask: Tensor | None) -> Step:
        """`cell.step` under variational dropout and zoneout."""
        step = masked(cell, mask)
        if any(self.zoneout):
            step = zoned(step, cell.state_shapes, self.zoneout, self.training)
        return step

    def _dropped_input(self, x: Tensor) -> Tensor:
        p = self.variational[0]
        return x * mask_like(x[0], p) if self.training and p else x

    def _layer_input(self, layer: int, below: Tensor, x: Tensor) -> Tensor:
        if layer == 0:
            return below
        inputs = F.dropout(below, self.dropout, self.training)
        if self.training and self.variational[1]:
            inputs = inputs * mask_like(inputs[0], self.variational[1])
        return torch.cat([inputs, x], 2) if self.skip else inputs

    def _make_cells(self, cell: str | CellFactory, options: dict[str, Any]) -> Iterator[Cell]:
        width = self.input_size
        for hidden in self.hidden_sizes:
            made = [make_cell(cell, width, hidden, **options) for _ in range(self.directions)]
            yield from made
            width = made[0].output_size * self.directions + (self.input_size if self.skip else 0)

    def _cell(self, index: int) -> Cell:
        return cast(Cell, self.cells[index])

    def _cells(self) -> list[Cell]:
        return [cast(Cell, cell) for cell in self.cells]

    def _uniform(self) -> bool:
        """Whether all cells have states of the same shapes, so that they stack into [layers x directions, B, ...]."""
        return len({tuple(cell.state_shapes.values()) for cell in self._cells()}) == 1

    def _learned_states(self) -> dict[str, nn.Parameter]:
        return {
            f"{name}_{index}": nn.Parameter(tensor[0].clone())
            for index, cell in enumerate(self._cells())
            for name, tensor in zip(cell.state_shapes, cell.initial(1), strict=True)
            if name not in cell.fixed_states
        }

    def _fresh(self, batch: int, extent: tuple[int, ...]) -> list[State]:
        """The initial state of each cell, tensors [B, ...]."""
        states = [cell.initial(batch, extent) for cell in self._cells()]
        if not self.learned:
            return states
        return [
            tuple(
                _spread(self.learned[key], batch, extent) if (key := f"{name}_{index}") in self.learned else zeros
                for name, zeros in zip(cell.state_shapes, state, strict=True)
            )
            for index, (cell, state) in enumerate(zip(self._cells(), states, strict=True))
        ]

    def stack_states(self, states: Sequence[State]) -> Any:
        """One state of the network from those of its cells."""
        if self._uniform():
            return tuple(torch.stack(parts) for parts in zip(*states, strict=True))
        layers = [states[first : first + self.directions] for first in range(0, len(states), self.directions)]
        return tuple(tuple(torch.stack(parts) for parts in zip(*layer, strict=True)) for layer in layers)

    def _check_state(self, state: Any, x: Tensor) -> None:
        """Checks that a given state fits this network and the rows of x [T, B, D, *extent]."""
        check_state(state, self._sizes(x.shape[1], tuple(x.shape[3:])), next(self.parameters()))

    def unstack_states(self, state: Any) -> list[State]:
        """The states of the cells from one of the network. `stack_states` undoes it."""
        layers = [state] if self._uniform() else state
        return [part for layer in layers for part in zip(*(tensor.unbind(0) for tensor in layer), strict=True)]

    def _sizes(self, batch: int, extent: tuple[int, ...]) -> Any:
        """The state that `initial` would return, with a torch.Size in place of each tensor."""
        count = len(self.cells) if self._uniform() else self.directions
        per_layer = [
            tuple(torch.Size((count, batch, *shape, *extent)) for shape in cell.state_shapes.values())
            for cell in self._cells()[:: self.directions]
        ]
        return per_layer[0] if self._uniform() else tuple(per_layer)

    def _check_options(self, zoneout: float | tuple[float, float]) -> None:
        cell = self._cell(0)
        widths = {one.output_size for one in self._cells()}
        if self.residual and len(widths) > 1:
            raise ValueError(f"residual=True needs layers of one width, got {sorted(widths)}")
        if self.weight_drop and not any(name in cell._parameters for name in cell.recurrent_weights):
            raise ValueError(f"weight_drop needs a cell with recurrent weights; {self.name} has none")
        if self.variational[2] and "mask" not in inspect.signature(cell.step).parameters:
            raise ValueError(f"variational dropout of the hidden state needs a step with a mask; {self.name} has none")
        if not isinstance(zoneout, int | float) and self.zoneout[1] and "cell" not in cell.state_shapes:
            raise ValueError(f"zoneout of the cell state: {self.name} has none, only {[*cell.state_shapes]}")

    def extra_repr(self) -> str:
        """The whole configuration: a saved state is refused if it differs."""
        sizes = self.hidden_sizes[0] if len(set(self.hidden_sizes)) == 1 else self.hidden_sizes
        options = {"bidirectional": self.directions == 2, "residual": self.residual, "skip": self.skip}
        rates_ = {"dropout": self.dropout, "variational": self.variational, "zoneout": self.zoneout}
        shown = {**options, **rates_, "weight_drop": self.weight_drop, "learn_initial": bool(self.learned)}
        if self.batch_first:  # no state depends on it: if false, it is left out, so that older states stay valid
            shown["batch_first"] = True
        listed = "".join(f", {name}={value}" for name, value in shown.items())
        return f"{self.name!r}, {self.input_size}, {sizes}, layers={self.layers}{listed}"


def backends(model: nn.Module) -> str:
    """The backend each recurrent network of a model used in its last call: "lstm: fused, mingru: scan"."""
    networks = [module for module in model.modules() if isinstance(module, Recurrent) and module.ran]
    return ", ".join(dict.fromkeys(f"{network.name}: {network.ran}" for network in networks))


def _spread(row: Tensor, batch: int, extent: tuple[int, ...]) -> Tensor:
    """Repeats one row's learned state [*shape] for every row and position: [B, *shape, *extent]."""
    return row.reshape(row.shape + (1,) * len(extent)).expand(batch, *row.shape, *extent)


def _per_layer(hidden_size: int | Sequence[int], layers: int) -> list[int]:
    positive("layers", layers)
    if isinstance(hidden_size, int):
        return [positive("hidden_size", hidden_size)] * layers
    sizes = [positive("hidden_size", size) for size in hidden_size]
    if not sizes or layers not in (1, len(sizes)):
        raise ValueError(f"hidden_size gives {len(sizes)} layers, but layers is {layers}")
    return sizes
