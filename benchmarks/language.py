"""Training steps and generation of language models, compared with the same in plain PyTorch.

    python benchmarks/language.py

Two LSTM layers of 200 units over 10,000 words, 20 rows of 35 steps, one optimiser step (SGD, gradient clipping). All
variants run in turn in this process; a ratio is the median over the rounds of (plain time / its time). Times are
processor seconds, which other processes disturb less than wall-clock time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.apps.language.generate import stream
from unroll.apps.language.model import LanguageModel
from unroll.apps.language.options import Generation
from unroll.recurrence.state import detach
from unroll.sequence.tokens import Tokeniser

WORDS, HIDDEN, LAYERS, ROWS, STEPS = 10_000, 200, 2, 20, 35
CUTOFFS = (1000, 4000)


class Plain(nn.Module):
    """The network as written in tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, LAYERS)
        self.output = nn.Linear(HIDDEN, WORDS)

    def loss(self, tokens: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Mean cross-entropy of a window [T, B], and the state."""
        hidden, state = self.lstm(self.embedding(tokens), state)
        return F.cross_entropy(self.output(hidden).flatten(0, 1), targets.flatten()), state


def tokeniser() -> Tokeniser:
    """A tokeniser of WORDS made-up words."""
    return Tokeniser("words", ("<eos>", "<unk>", *(f"w{n}" for n in range(WORDS - 2))))


def ours(**options: Any) -> LanguageModel:
    """The application's model at the measured size."""
    return LanguageModel(tokeniser(), hidden=HIDDEN, layers=LAYERS, **options)


def text(generator: torch.Generator) -> Tensor:
    """Words with the frequencies of natural text (Zipf and Mandelbrot): [STEPS + 1, ROWS]."""
    share = 1 / (torch.arange(WORDS) + 2.7)
    return torch.multinomial(share, (STEPS + 1) * ROWS, replacement=True, generator=generator).view(STEPS + 1, ROWS)


def trainer(model: "Plain | LanguageModel", dtype: torch.dtype | None = None) -> Callable[[Tensor], float]:
    """A function that runs one training step and returns its processor seconds."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state: Any = None

    def step(window: Tensor) -> float:
        nonlocal state
        start = time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss, *_, state = model.loss(window[:-1], window[1:], state)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        state = detach(state)
        return time.process_time() - start

    return step


def train(rounds: int) -> None:
    """The table of training steps."""
    torch.manual_seed(0)
    ways = {
        "torch.nn.LSTM + Linear + cross_entropy": trainer(Plain()),
        "softmax, the same arithmetic": trainer(ours(tied=False)),
        "softmax, products in bfloat16": trainer(ours(tied=False), torch.bfloat16),
        "adaptive softmax (cutoffs 1000, 4000)": trainer(ours(tied=False, cutoffs=CUTOFFS)),
        "adaptive softmax, tied (as ptb-fast)": trainer(ours(cutoffs=CUTOFFS)),
        "adaptive softmax, tied, bfloat16": trainer(ours(cutoffs=CUTOFFS), torch.bfloat16),
    }
    generator = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        window = text(generator)
        for name, step in ways.items():
            seconds = step(window)
            if number >= 2:  # the first two are warm-up
                times[name].append(seconds)
    first = next(iter(times.values()))
    print(f"{'training step':42} {'ms (median)':>12} {'ms (least)':>11} {'times as fast':>14}")
    for name, took in times.items():
        ratio = statistics.median(a / b for a, b in zip(first, took, strict=True))
        print(f"{name:42} {1e3 * statistics.median(took):12.1f} {1e3 * min(took):11.1f} {ratio:14.2f}")


def generate(tokens: int) -> None:
    """The table of generation, one text at a time."""
    characters = Tokeniser("characters", (*map(chr, range(32, 127)), "\n", "<unk>"))
    models = {
        "characters, 1 x 192": LanguageModel(characters, hidden=192),
        "10,000 words, 2 x 200": ours(),
        "10,000 words, 2 x 200, adaptive": ours(cutoffs=CUTOFFS),
    }
    print(f"\n{'generation at batch 1':42} {'tokens/s':>12} {'after 10 times as many':>24}")
    for name, model in models.items():
        model.eval()
        rates = []
        for length in (tokens, 10 * tokens):
            model.generation = Generation(length=length, temperature=1.0)
            pieces = stream(model, "")
            next(pieces)
            begin = time.process_time()
            written = sum(1 for _ in pieces)
            rates.append(written / (time.process_time() - begin))
        print(f"{name:42} {rates[0]:12,.0f} {rates[1]:24,.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31, help="training steps per variant")
    parser.add_argument("--tokens", type=int, default=200, help="tokens to generate")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    train(arguments.rounds)
    generate(arguments.tokens)
