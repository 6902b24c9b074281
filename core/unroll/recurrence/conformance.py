"""The laws that every cell must obey, as functions that you can call on your own cell.

    check_cell(MyCell)

However a sequence is cut, padded, batched, permuted or restarted, a row's outputs, states and gradients are the same.
Every law compares two ways of computing the same thing: values, and gradients with respect to the input, the given
state and every parameter.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence import state as states
from unroll.recurrence.changes import places
from unroll.recurrence.registry import CellFactory
from unroll.recurrence.rnn import Recurrent

Run = Callable[[Tensor, Any], Any]
"""(x [T, B, D, *extent], state) -> (output, state)."""

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@dataclass(frozen=True)
class Trial:
    """One random setting in which a law must hold.

    Attributes:
        steps: T.
        lengths: steps of each row, from 0 to T; their number is B.
        seed: for every random value.
        extent: (Y, X) if rows are maps.
        dtype: the tolerance is 1e-10 in float64 and 1e-5 in float32.
    """

    steps: int
    lengths: tuple[int, ...]
    seed: int = 0
    extent: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float64
    random: random.Random = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "random", random.Random(self.seed))

    def x(self, network: Recurrent) -> Tensor:
        """A random input [T, B, D, *extent]."""
        return self._normal(self.steps, len(self.lengths), network.input_size, *self.extent)

    def state(self, network: Recurrent) -> Any:
        """A state that the network can actually reach: the one after two steps."""
        with torch.no_grad():
            return network(self._normal(2, len(self.lengths), network.input_size, *self.extent))[1]

    def weights_like(self, tensor: Tensor) -> Tensor:
        """Fixed random weights with which a result enters the loss."""
        return self._normal(*tensor.shape)

    def _normal(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1000 * len(shape) + sum(shape))
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.dtype)


def step_by_step(network: Recurrent, trial: Trial) -> None:
    """Running the whole sequence at once equals running it step by step."""

    def stepped(x: Tensor, state: Any) -> Any:
        outputs = []
        for x_t in x:
            output, state = network.step(x_t, state)
            outputs.append(output)
        return torch.stack(outputs), state

    agree(network, trial, network, stepped)


def in_chunks(network: Recurrent, trial: Trial) -> None:
    """Running the whole sequence at once equals running it in chunks with the state carried over (truncated BPTT)."""
    count = trial.random.randint(1, trial.steps)
    cuts = sorted(trial.random.sample(range(1, trial.steps), count - 1))

    def chunked(x: Tensor, state: Any) -> Any:
        outputs = []
        for begin, end in pairwise([0, *cuts, len(x)]):
            output, state = network(x[begin:end], state)
            outputs.append(output)
        return torch.cat(outputs), state

    agree(network, trial, network, chunked)


def padded(network: Recurrent, trial: Trial) -> None:
    """A row in a padded batch equals that row alone, whatever the padding holds; past its end the output is zero."""
    past = torch.arange(trial.steps).unsqueeze(1) >= torch.tensor(trial.lengths)

    def batched(x: Tensor, state: Any) -> Any:
        noisy = x.masked_fill(past.reshape(past.shape + (1,) * (x.dim() - 2)), torch.nan)
        return network(noisy, state, lengths=torch.tensor(trial.lengths))

    def alone(x: Tensor, state: Any) -> Any:
        rows = [
            _row(network, x[:length, row : row + 1], states.select(state, torch.tensor([row])), len(x))
            for row, length in enumerate(trial.lengths)
        ]
        return torch.cat([output for output, _ in rows], 1), states.concatenate([after for _, after in rows])

    agree(network, trial, batched, alone)


def permuted(network: Recurrent, trial: Trial) -> None:
    """Permuting the rows permutes the result."""
    order = torch.tensor(trial.random.sample(range(len(trial.lengths)), len(trial.lengths)))
    lengths = torch.tensor(trial.lengths)

    def before(x: Tensor, state: Any) -> Any:
        return network(x[:, order], states.select(state, order), lengths=lengths[order])

    def afterwards(x: Tensor, state: Any) -> Any:
        output, state = network(x, state, lengths=lengths)
        return output[:, order], states.select(state, order)

    agree(network, trial, before, afterwards)


def selected(network: Recurrent, trial: Trial) -> None:
    """Running some rows (repetitions allowed, as in beam search) equals running all of them and selecting those."""
    rows = torch.tensor(trial.random.choices(range(len(trial.lengths)), k=3))

    def first(x: Tensor, state: Any) -> Any:
        return network(x[:, rows], states.select(state, rows))

    def last(x: Tensor, state: Any) -> Any:
        output, state = network(x, state)
        return output[:, rows], states.reorder(states.select(state, rows), torch.arange(3))

    agree(network, trial, first, last)


def restarted(network: Recurrent, trial: Trial) -> None:
    """Resetting a row at some step equals cutting it there and starting the rest from the initial state."""
    steps, batch = trial.steps, len(trial.lengths)
    reset = torch.tensor([[trial.random.random() < 0.4 for _ in range(batch)] for _ in range(steps)])

    def at_once(x: Tensor, state: Any) -> Any:
        return network(x, state, lengths=torch.tensor(trial.lengths), reset=reset)

    def cut(x: Tensor, state: Any) -> Any:
        rows = []
        for row, length in enumerate(trial.lengths):
            cuts = [t for t in range(length) if reset[t, row]]
            part = states.select(state, torch.tensor([row]))
            rows.append(_restarted_row(network, x[:length, row : row + 1], part, cuts, steps))
        return torch.cat([output for output, _ in rows], 1), states.concatenate([after for _, after in rows])

    agree(network, trial, at_once, cut)


def _restarted_row(network: Recurrent, x: Tensor, given: Any, cuts: list[int], steps: int) -> tuple[Tensor, Any]:
    """One row, segment by segment. A backward direction gets the given state in the last segment, not in the first."""
    edges = sorted({0, *cuts, len(x)})
    fresh = network.initial(1, tuple(x.shape[3:]))
    outputs, after = [x.new_zeros(0)], given
    for begin, end in pairwise(edges):
        forward = given if begin == 0 and 0 not in cuts else fresh
        backward = given if end == len(x) else fresh
        output, last = network(x[begin:end], _directions(network, forward, backward))
        outputs.append(output)
        after = _directions(network, last, last if begin == 0 else after)
    return _pad(torch.cat(outputs[1:]) if len(x) else None, network, x, steps), after


def _directions(network: Recurrent, forward: Any, backward: Any) -> Any:
    """A state with the forward directions of one state and the backward directions of another."""
    if network.directions == 1:
        return forward

    def interleaved(ahead: Tensor, back: Tensor) -> Tensor:
        return torch.stack([ahead[0::2], back[1::2]], 1).flatten(0, 1)

    return states.apply(interleaved, forward, backward)


def fast_path(network: Recurrent, trial: Trial) -> None:
    """Fused kernels and parallel scans equal the loop over `step`, with a given state, lengths and resets."""
    batch = len(trial.lengths)
    reset = torch.tensor([[trial.random.random() < 0.3 for _ in range(batch)] for _ in range(trial.steps)])
    arguments = {"lengths": torch.tensor(trial.lengths), "reset": reset}

    def eager(x: Tensor, state: Any) -> Any:
        with _backend(network, "eager"):
            return network(x, state, **arguments)

    agree(network, trial, lambda x, state: network(x, state, **arguments), eager)


def noticed(network: Recurrent, trial: Trial) -> None:
    """A number that is changed between two calls affects the second one, just as in the loop over `step`."""
    if trial.dtype != torch.float32:
        return  # nothing is compiled
    x = trial.x(network)
    with torch.no_grad():
        before = network(x)[0]
        for place in places(network._cell(0)):
            with place.changed():
                try:
                    with _backend(network, "eager"):
                        wanted = network(x)[0]
                except Exception:  # a size, say: the cell does not run with another value
                    continue
                if not torch.equal(wanted, before) and not torch.allclose(got := network(x)[0], wanted, 1e-4, 1e-5):
                    off = float((got - wanted).abs().max())
                    raise AssertionError(
                        f"a change of {place.name} is not noticed (off by {off:.1e}): make it an attribute"
                    )


def derivatives(network: Recurrent, trial: Trial) -> None:
    """First and second derivatives agree with finite differences (float64)."""
    network = copy.deepcopy(network).to(torch.float64)
    exact = Trial(min(trial.steps, 3), trial.lengths[:2], trial.seed, trial.extent)
    state = exact.state(network)
    leaves = [exact.x(network), *states.tensors(state)]
    lengths = torch.tensor([min(length, exact.steps) for length in exact.lengths])

    def run(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        parts = iter(given)
        output, after = network(x, states.apply(lambda _: next(parts), state), lengths=lengths)
        return (output, *states.tensors(after))

    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


def exported(network: Recurrent, trial: Trial) -> None:
    """torch.export of one step keeps the batch size dynamic: exported with B = 2, it runs with any B."""
    module = _StepModule(network).eval()
    two = Trial(1, (1, 1), trial.seed, trial.extent, trial.dtype)
    state = two.state(network)
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = {"x": {0: batch}, "state": states.apply(lambda _: {1: batch}, state)}
    program = torch.export.export(module, (two.x(network)[0], state), dynamic_shapes=shapes)
    for rows in (1, 5):
        some = Trial(1, (1,) * rows, trial.seed, trial.extent, trial.dtype)
        x, given = some.x(network)[0], some.state(network)
        wanted, got = module(x, given), program.module()(x, given)
        for a, b in zip(states.tensors(wanted), states.tensors(got), strict=True):
            _close(a, b, trial)


class _StepModule(nn.Module):
    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.network.step(x, state)


Law = Callable[[Recurrent, Trial], None]
STREAMING: tuple[Law, ...] = (step_by_step, in_chunks, exported)
"""Laws for networks that do not look into the future."""
LAWS: tuple[Law, ...] = (padded, permuted, selected, restarted, fast_path, noticed, derivatives, *STREAMING)


def check_cell(
    cell: str | CellFactory,
    input_size: int = 3,
    hidden_size: int = 4,
    *,
    extent: tuple[int, ...] = (),
    trials: int = 4,
    **options: Any,
) -> None:
    """Checks a cell against every law, in both directions, in float64 and float32, in `trials` random settings each.

    Args:
        cell: a name, a Cell class or a function (input_size, hidden_size, **options) -> Cell.
        input_size, hidden_size: of the cell under test.
        extent: (Y, X) for a cell over maps.
        trials: how many random settings.
        options: passed on to Recurrent, and by it to the cell.

    Raises:
        AssertionError: a law does not hold; the message names the law, the setting, and by how much.
    """
    for seed in range(trials):
        draw = random.Random(seed)
        steps = draw.randint(1, 6)
        lengths = tuple(draw.randint(0, steps) for _ in range(draw.randint(1, 4)))
        for dtype in TOLERANCE:
            for bidirectional in (False, True):
                network = (
                    Recurrent(cell, input_size, hidden_size, bidirectional=bidirectional, **options).to(dtype).eval()
                )
                for law in LAWS:
                    if not (bidirectional and law in STREAMING):
                        hold(law, network, Trial(steps, lengths, seed, extent, dtype))


def hold(law: Law, network: Recurrent, trial: Trial) -> None:
    """Applies one law; an AssertionError names it, the network and the trial."""
    try:
        law(network, trial)
    except (AssertionError, RuntimeError) as error:
        raise AssertionError(f"{law.__name__} does not hold ({law.__doc__})\n{network}\n{trial}\n{error}") from error


def agree(network: Recurrent, trial: Trial, one: Run, other: Run) -> None:
    """Two ways to run the network give the same output, state and gradients; `other` is the oracle.

    In float32 a result may also be off by ten times the oracle's own rounding error, which a layer norm over few,
    nearly equal units can magnify far beyond 1e-5.

    Raises:
        AssertionError: they differ by more than the tolerance of the trial's dtype.
    """
    wanted = _outcome(network, trial, other)
    noise = _rounding(network, trial, other, wanted) if trial.dtype == torch.float32 else [0.0] * len(wanted)
    for a, b, rounding in zip(_outcome(network, trial, one), wanted, noise, strict=True):
        _close(a, b, trial, 10 * rounding)


def _rounding(network: Recurrent, trial: Trial, run: Run, results: list[Tensor]) -> list[float]:
    """How far each float32 result is from the float64 one of the same weights and values."""
    try:
        exact = _outcome(network.double(), replace(trial, dtype=torch.float64), run)
    finally:
        network.float()
    return [float((a - b).detach().abs().max()) if b.numel() else 0.0 for a, b in zip(results, exact, strict=True)]


def _outcome(network: Recurrent, trial: Trial, run: Run) -> list[Tensor]:
    """Output, state, and the gradients of a weighted sum of them by the input, the given state and every parameter."""
    x = trial.x(network).requires_grad_()
    state = states.apply(lambda tensor: tensor.detach().requires_grad_(), trial.state(network))
    output, after = run(x, state)
    results = [output, *states.tensors(after)]
    loss = torch.stack([(trial.weights_like(result) * result).sum() for result in results]).sum()
    leaves = [x, *states.tensors(state), *network.parameters()]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [*results, *gradients]


def _row(network: Recurrent, x: Tensor, state: Any, steps: int) -> tuple[Tensor, Any]:
    """One row of its own length, padded to T with zeros; a row of no steps leaves the state unchanged."""
    output, after = network(x, state) if len(x) else (None, state)
    return _pad(output, network, x, steps), after


def _pad(output: Tensor | None, network: Recurrent, x: Tensor, steps: int) -> Tensor:
    full = x.new_zeros(steps, 1, network.output_size, *x.shape[3:])
    return full if output is None else torch.cat([output, full[len(output) :]])


def _close(a: Tensor, b: Tensor, trial: Trial, slack: float = 0.0) -> None:
    tolerance = TOLERANCE[trial.dtype]
    scale = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
    torch.testing.assert_close(a, b, atol=tolerance * scale + slack, rtol=tolerance)


@contextmanager
def _backend(network: Recurrent, name: str) -> Iterator[None]:
    before, network.backend = network.backend, name
    try:
        yield
    finally:
        network.backend = before
