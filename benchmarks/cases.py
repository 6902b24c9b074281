"""The benchmark cases for recurrent networks: eight sections, each a function from sizes to cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.peers import Packed, Training, pair, work
from benchmarks.side_by_side import Case, Pair, Run
from benchmarks.steps import BATCH, HIDDEN
from benchmarks.steps import step as one_step
from unroll.recurrence import Recurrent
from unroll.recurrence.gradients import gradients
from unroll.recurrence.kernels.cpu import native
from unroll.recurrence.kernels.cpu.stepper import WEIGHTS, Stepper
from unroll.recurrence.lyapunov import growth
from unroll.recurrence.recording import record


class Sizes(NamedTuple):
    """The sizes of all cases."""

    steps: int = 100
    hidden: tuple[int, ...] = (128, 256, 512)
    batch: tuple[int, ...] = (16, 32, 64)
    family: tuple[tuple[int, int], ...] = ((16, 128), (32, 256))
    """(B, H), as below"""
    lengths: tuple[int, int] = (64, 256)
    mean: int = 40
    """mean of the lengths; the longest is five times as long"""
    scan: tuple[tuple[int, int], ...] = ((1, 256), (8, 256))
    long: tuple[int, ...] = (256, 1024, 4096)
    inference: tuple[tuple[int, int], ...] = ((1, 256), (16, 128), (32, 256), (64, 512))
    streaming: tuple[int, int] = (2, 512)
    """(layers, H)"""
    limit: int = 2048
    seconds: float = 4.0
    """approximate time budget of a case"""
    single: tuple[tuple[int, ...], tuple[int, ...]] = (HIDDEN, BATCH)
    """(H, B) for one step per call"""


QUICK = Sizes(8, (16,), (4,), ((4, 16),), (4, 16), 4, ((2, 16),), (8, 16), ((2, 16),), (2, 16), 64, 0.01, ((16,), (4,)))
WANTED = {"LSTM": 1.25, "GRU": 1.6, "RNN": 1.7}
"""times as fast as torch.nn in training, float32"""
LEAST = 0.95
STREAMING = {("Stepper float32", "nn.LSTM"): 1 / 0.6, ("Recurrent.step", "nn.LSTMCell"): 1.5}
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("lstm", {}),
    "LSTM, LayerNorm": ("layernorm-lstm", {}),
    "LSTM, peepholes": ("lstm", {"peephole": True}),
    "LSTM, coupled gates": ("lstm", {"coupled": True}),
    "LSTM, projection to H/2": ("lstm", {"projection": 0.5}),
    "sLSTM": ("slstm", {}),
    "GRU": ("gru", {}),
    "GRU, reset before product": ("gru", {"reset_gate": "before"}),
    "GRU, LayerNorm": ("layernorm-gru", {}),
    "MGU": ("mgu", {}),
    "Li-GRU": ("ligru", {}),
    "Elman, tanh": ("elman", {}),
    "Elman, relu": ("elman", {"f": "relu"}),
    "Elman, sigmoid": ("elman", {"f": "sigmoid"}),
    "IndRNN": ("indrnn", {}),
    "coRNN": ("cornn", {}),
}


def training(sizes: Sizes) -> Iterator[Case]:
    """Forward and backward against torch.nn, in float32 and bfloat16 (ours: autocast, torch's: a bfloat16 module)."""
    for kind, wanted in WANTED.items():
        pairs = (
            Pair("float32", "nn float32", wanted, LEAST),
            Pair("bfloat16", "nn float32", 2.0 if kind == "LSTM" else None),
            Pair("bfloat16", "nn bfloat16"),
        )
        for hidden in sizes.hidden:
            for batch in sizes.batch:
                theirs, ours = pair(kind, hidden)
                x = torch.randn(sizes.steps, batch, hidden)
                agree(ours(x)[0], theirs(x)[0])
                bf16, amount = pair(kind, hidden)[0].bfloat16(), work(theirs, batch * sizes.steps, training=True)
                runs = {
                    "float32": Run(Training(ours, x), amount, module=ours),
                    "bfloat16": Run(Training(ours, x, bf16=True), amount, "bfloat16", ours),
                    "nn float32": Run(Training(theirs, x), amount),
                    "nn bfloat16": Run(Training(bf16, x.bfloat16()), amount, "bfloat16"),
                }
                yield Case(kind, f"{kind} H={hidden} B={batch}", runs, pairs, batch * sizes.steps)


def family(sizes: Sizes) -> Iterator[Case]:
    """Every cell against our LSTM, by time per operation in matrix products, and against loops in Python.

    "cell, loop" calls the cell for each time step, as usually written; "eager" is our own loop, which projects all
    steps at once.
    """
    for batch, hidden in sizes.family:
        x, tokens = torch.randn(sizes.steps, batch, hidden), sizes.steps * batch
        lstm, size = Recurrent("lstm", hidden, hidden), f"H={hidden} B={batch}"
        for name, (cell, options) in FAMILY.items():
            given: dict[str, Any] = {
                key: int(value * hidden) if key == "projection" else value for key, value in options.items()
            }
            ours, eager = (Recurrent(cell, hidden, hidden, backend=way, **given) for way in ("auto", "eager"))
            eager.load_state_dict(ours.state_dict())
            loop = peers.Loop(eager)
            # Only the first steps: an untrained LayerNorm-LSTM is chaotic, two orders of summation diverge after 50.
            for other in (eager, loop):
                agree(ours(x[:10])[0], other(x[:10])[0])
            amount = work(ours, tokens, training=True)
            runs = {
                "Recurrent": Run(Training(ours, x), amount, module=ours),
                "cell, loop": Run(Training(loop, x), amount),
                "eager": Run(Training(eager, x), amount),
                "our LSTM": Run(Training(lstm, x), work(lstm, tokens, training=True)),
            }
            pairs = (
                Pair("Recurrent", "cell, loop", each=4.0),
                Pair("Recurrent", "eager"),
                Pair("Recurrent", "our LSTM", each=0.8, per_work=True),
            )
            yield Case(f"family, {size}", f"{name} {size}", runs, pairs if name != "LSTM" else pairs[:2], tokens)


def lengths(sizes: Sizes) -> Iterator[Case]:
    """Training on rows of log-normal length: ours with `lengths`, torch.nn's packed and unpacked, and padded."""
    batch, hidden = sizes.lengths
    generator = torch.Generator().manual_seed(0)
    sigma = 0.75
    drawn = torch.exp(math.log(sizes.mean) - sigma**2 / 2 + sigma * torch.randn(batch, generator=generator))
    given = drawn.round().long().clamp(1, 5 * sizes.mean)
    x, tokens = torch.randn(int(given.max()), batch, hidden), int(given.sum())
    for kind in ("LSTM", "GRU"):
        theirs, ours = pair(kind, hidden)
        packed = Packed(theirs)
        agree(ours(x, lengths=given)[0], packed(x, given)[0])
        amount = work(theirs, tokens, training=True)
        runs = {
            "Recurrent": Run(Training(ours, x, lengths=given), amount, module=ours),
            "nn packed": Run(Training(packed, x, lengths=given), amount),
            "nn padded": Run(Training(theirs, x), amount),
        }
        pairs = (Pair("Recurrent", "nn packed", mean=1.5 if kind == "LSTM" else None), Pair("Recurrent", "nn padded"))
        yield Case(kind, f"{kind} {tokens:,} of {x.shape[0] * batch:,} places used", runs, pairs, tokens)


def scan(sizes: Sizes) -> Iterator[Case]:
    """Training minGRU on long sequences, against torch.nn.LSTM of the same width."""
    for batch, hidden in sizes.scan:
        for steps in sizes.long:
            x, tokens = torch.randn(steps, batch, hidden), steps * batch
            ours, parallel = (Recurrent("mingru", hidden, hidden, backend=way) for way in ("auto", "scan"))
            lstm = nn.LSTM(hidden, hidden)
            amount = work(ours, tokens, training=True)
            runs = {
                "minGRU": Run(Training(ours, x), amount, module=ours),
                "minGRU bfloat16": Run(Training(ours, x, bf16=True), amount, "bfloat16", ours),
                "minGRU by scan": Run(Training(parallel, x), amount, module=parallel),
                "nn.LSTM": Run(Training(lstm, x), work(lstm, tokens, training=True)),
            }
            wanted = 10.0 if steps == max(sizes.long) else None
            pairs = (
                Pair("minGRU", "nn.LSTM", each=wanted),
                Pair("minGRU bfloat16", "nn.LSTM", each=wanted),
                Pair("minGRU by scan", "nn.LSTM"),
            )
            yield Case(f"T={steps} B={batch}", f"minGRU H={hidden} B={batch} T={steps}", runs, pairs, tokens)


def inference(sizes: Sizes) -> Iterator[Case]:
    """A whole sequence without gradients, against every installed peer."""
    for kind in WANTED:
        for batch, hidden in sizes.inference:
            theirs, ours = pair(kind, hidden)
            x = torch.randn(sizes.steps, batch, hidden)
            ways = peers.inference(kind, theirs, ours, x)
            for way in ways.values():
                agree(torch.as_tensor(way()), theirs(x)[0])
            amount = work(theirs, batch * sizes.steps, training=False)
            runs = {
                name: Run(call, amount, module=ours if name == "Recurrent" else None) for name, call in ways.items()
            }
            pairs = tuple(Pair("Recurrent", name) for name in list(ways)[1:])
            yield Case(kind, f"{kind} H={hidden} B={batch}", runs, pairs, batch * sizes.steps)


def streaming(sizes: Sizes) -> Iterator[Case]:
    """One row, step by step, with the state carried over."""
    layers, hidden = sizes.streaming
    x = torch.randn(sizes.steps, 1, hidden)
    theirs, ours = pair("LSTM", hidden, layers)
    amount = work(theirs, sizes.steps, training=False)
    ways = {
        "Recurrent.step": ours.step,
        "nn.LSTM": lambda u, state: theirs(u.unsqueeze(0), state),
        "nn.LSTMCell": peers.cell_step(theirs),
    }
    runs = {name: Run(partial(_stepped, step, x), amount) for name, step in ways.items()}
    agree(_stepped(ways["nn.LSTMCell"], x), theirs(x)[0][-1])
    for weights in WEIGHTS if native.missing() is None else ():
        if weights != "bfloat16" or native.base().has_bfloat16():
            stepper = Stepper(ours, weights=weights)
            if weights == "float32":
                agree(torch.stack([stepper.step(u).clone() for u in x]), theirs(x)[0])
            runs[f"Stepper {weights}"] = Run(partial(_streamed, stepper.step, x), amount)
    pairs = tuple(
        Pair(name, peer, each=STREAMING.get((name, peer)))
        for name in runs
        for peer in ("nn.LSTM", "nn.LSTMCell")
        if not name.startswith("nn.")
    )
    yield Case("streaming", f"LSTM {layers} x {hidden}, {sizes.steps} steps", runs, pairs, sizes.steps)


def step(sizes: Sizes) -> Iterator[Case]:
    """One time step per call, without and with gradients, against torch.nn's layers and cells."""
    return one_step(*sizes.single)


def probe(sizes: Sizes) -> Iterator[Case]:
    """A complete probe of `invoke diagnose` on one batch of an LSTM, against a training step."""
    for hidden in sizes.hidden:
        batch = sizes.batch[len(sizes.batch) // 2]
        network = Recurrent("lstm", hidden, hidden)
        x, amount = torch.randn(sizes.steps, batch, hidden), work(network, batch * sizes.steps, training=True)
        runs = {
            "probe": Run(partial(_probe, network, x), amount),
            "training step": Run(Training(network, x), amount, module=network),
        }
        pairs = (Pair("probe", "training step", each=0.1),)
        yield Case("probe", f"LSTM H={hidden} B={batch}", runs, pairs, batch * sizes.steps)


def _probe(network: nn.Module, x: Tensor) -> None:
    with record(network) as calls:
        loss = network(x)[0].square().mean()
    [call] = calls[""]
    [cell] = gradients(loss, call)
    growth(cell)


def _stepped(step: Callable[[Tensor, Any], tuple[Tensor, Any]], x: Tensor) -> Tensor:
    state = None
    with torch.no_grad():
        for u in x:
            output, state = step(u, state)
    return output


def _streamed(step: Callable[[Tensor], object], x: Tensor) -> None:
    for u in x:
        step(u)


def agree(ours: Tensor, theirs: Tensor) -> None:
    """Checks that both compute the same, so that only equal computations are compared."""
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


SECTIONS: dict[str, Callable[[Sizes], Iterator[Case]]] = {
    "training": training,
    "family": family,
    "lengths": lengths,
    "scan": scan,
    "inference": inference,
    "streaming": streaming,
    "step": step,
    "probe": probe,
}
