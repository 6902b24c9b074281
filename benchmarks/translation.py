"""Training and beam search of the translator, compared with the same in plain torch.nn.

    python benchmarks/translation.py

Training: the network of the Multi30k preset (bidirectional encoder and decoder of one layer, general attention without
input feeding, 4,000 pieces) and the same network from torch.nn with packed sequences and a Python loop over the
target's steps: same sizes, same tied weights, same label smoothing, and, as a check, the same loss from the same
weights. Beam: 1,000 sentences in batches against one sentence at a time, same model, same search, same translations;
the weights are untrained, so every text runs to its maximum length. Training steps alternate in this process, beam
searches run one after the other; times are processor seconds; a ratio is the median over the rounds.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unroll.apps.translation.data import NOTHING, Batch, collate
from unroll.apps.translation.decode import translate
from unroll.apps.translation.model import Translator
from unroll.apps.translation.options import Decoding
from unroll.sequence.tokens import Tokeniser

WORDS, EMBEDDING, HIDDEN, SMOOTHING, BUDGET = 4000, 256, 256, 0.1, 1200
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class Plain(nn.Module):
    """The network as written in tutorials."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.embed_source, self.embed_target = nn.Embedding(WORDS, EMBEDDING), nn.Embedding(WORDS, EMBEDDING)
        self.encoder = CELLS[cell](EMBEDDING, HIDDEN, bidirectional=True)
        self.decoder = CELLS[cell](EMBEDDING, 2 * HIDDEN)
        self.key = nn.Linear(2 * HIDDEN, 2 * HIDDEN, bias=False)
        self.join = nn.Linear(4 * HIDDEN, EMBEDDING)
        self.bias = nn.Parameter(torch.zeros(WORDS))

    def loss(self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean smoothed cross-entropy of a batch."""
        packed = pack_padded_sequence(self.embed_source(source), lengths, enforce_sorted=False)
        output, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(output)
        parts = last if isinstance(last, tuple) else (last,)
        both = tuple(torch.cat((part[0], part[1]), 1)[None] for part in parts)
        state: Any = both if isinstance(last, tuple) else both[0]
        keys, values = self.key(memory).transpose(0, 1), memory.transpose(0, 1)
        outside = torch.arange(len(source))[None] >= lengths[:, None]
        logits = []
        for token in inputs:
            hidden, state = self.decoder(self.embed_target(token)[None], state)
            scores = torch.bmm(keys, hidden[0][:, :, None])[:, :, 0].masked_fill(outside, -torch.inf)
            context = torch.bmm(scores.softmax(1)[:, None], values)[:, 0]
            joined = torch.tanh(self.join(torch.cat((hidden[0], context), 1)))
            logits.append(F.linear(joined, self.embed_target.weight, self.bias))
        stacked = torch.stack(logits).flatten(0, 1)
        return F.cross_entropy(stacked, targets.flatten(), label_smoothing=SMOOTHING, ignore_index=NOTHING)


def ours(cell: str) -> Translator:
    """The application's model with the same sizes, over made-up words."""
    words = Tokeniser("words", ("<eos>", "<unk>", *(f"w{n}" for n in range(WORDS - 2))))
    options: dict[str, Any] = {
        "cell": cell,
        "hidden": HIDDEN,
        "embedding": EMBEDDING,
        "smoothing": SMOOTHING,
        "scaled": False,
    }
    return Translator(words, words, ("en", "de"), decoding=Decoding(), **options)


def copied(model: Translator, plain: Plain) -> None:
    """Give the plain model the weights of ours."""
    plain.embed_source.load_state_dict(model.embed_source.state_dict())
    plain.embed_target.load_state_dict(model.embed_target.state_dict())
    plain.join.load_state_dict(model.join.state_dict())
    plain.key.load_state_dict(model.attention.get_submodule("key").state_dict())
    with torch.no_grad():
        for theirs, recurrent in ((plain.encoder, model.encoder), (plain.decoder, model.decoder)):
            for index, suffix in enumerate(("", "_reverse")[: recurrent.directions]):
                for name, value in recurrent.cells[index].named_parameters():
                    getattr(theirs, f"{name}_l0{suffix}").copy_(value)


def batches(count: int, generator: torch.Generator) -> list[Batch]:
    """Batches with lengths as in Multi30k: 5 to 30 pieces, with translations slightly longer."""
    made = []
    for _ in range(count):
        length = int(torch.randint(6, 24, (1,), generator=generator))
        rows = []
        for _ in range(BUDGET // (length + 5)):
            sizes = (length + torch.randint(-2, 4, (2,), generator=generator)).tolist()
            sides = [torch.randint(2, WORDS, (size,), generator=generator).tolist() for size in sizes]
            rows.append({"id": "", "source": "", "target": "", "tokens_source": sides[0], "tokens_target": sides[1]})
        made.append(collate(rows, end=0))
    return made


def train(cell: str, rounds: int) -> None:
    """Rows of the table of training steps: target tokens per processor second."""
    torch.manual_seed(0)
    model, plain = ours(cell), Plain(cell)
    copied(model, plain)
    ways: dict[str, Plain | Translator] = {"torch.nn, packed, loop over steps": plain, "apps/translation": model}
    optimizers = {name: torch.optim.Adam(way.parameters(), fused=True) for name, way in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number, batch in enumerate(batches(rounds + 2, torch.Generator().manual_seed(0))):
        if number == 0:
            losses = [way.loss(*batch[:4]).item() for way in ways.values()]
            assert abs(losses[0] - losses[1]) < 1e-3, losses
        for name, way in ways.items():
            start = time.process_time()
            optimizers[name].zero_grad()
            way.loss(*batch[:4]).backward()
            optimizers[name].step()
            if number >= 2:  # the first two are warm-up
                tokens = int((batch.targets != NOTHING).sum())
                rates[name].append(tokens / (time.process_time() - start))
    first = next(iter(rates.values()))
    for name, found in rates.items():
        ratio = statistics.median(b / a for a, b in zip(first, found, strict=True))
        print(f"{f'training, {cell}: {name}':60} {statistics.median(found):10,.0f} tokens/s {ratio:8.2f} x")


def search(sentences: int, alone: int) -> None:
    """Rows of the table of decoding: beam 5, sentences per processor second."""
    torch.manual_seed(0)
    model = ours("gru").eval()
    generator = torch.Generator().manual_seed(0)
    texts = [
        " ".join(f"w{n}" for n in torch.randint(WORDS - 2, (int(size),), generator=generator).tolist())
        for size in torch.randint(6, 24, (sentences,), generator=generator)
    ]
    start = time.process_time()
    together = translate(model, texts)
    batched = sentences / (time.process_time() - start)
    start = time.process_time()
    separately = [translate(model, [text])[0] for text in texts[:alone]]
    one_by_one = alone / (time.process_time() - start)
    same = sum(a[0][0] == b[0][0] for a, b in zip(separately, together, strict=False))
    print(f"{f'beam 5: one sentence at a time ({alone} of them)':60} {one_by_one:10,.1f} sentences/s     1.00 x")
    print(
        f"{f'beam 5: {sentences:,} sentences, batched':60} {batched:10,.1f} sentences/s {batched / one_by_one:8.2f} x"
    )
    print(f"the same translation: {same} of {alone}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="training steps per variant")
    parser.add_argument("--sentences", type=int, default=1000, help="to translate in batches")
    parser.add_argument("--alone", type=int, default=60, help="how many of them to translate one by one as well")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    for name in CELLS:
        train(name, arguments.rounds)
    search(arguments.sentences, arguments.alone)
