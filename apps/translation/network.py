"""Encoder, attention, decoder. Where attention does not feed back, all steps of the decoder are one call.

    memory, state = model.begin(source, lengths)                 once per sentence
    log_probs, state = model.advance(tokens, state, memory)      the next token of each text being written

The decoder reads the translation so far (a recurrent network over the target's tokens), attends to the source with its
state s, and joins it with the context c: r = tanh(W [s; c]) (Luong, Pham and Manning 2015). With `feeding`, r is an
input of the next step, which has to wait for it; without, all target steps of a batch are one call of the recurrence,
one product with the memory and one output layer.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent
from unroll.recurrence.dropout import VariationalDropout
from unroll.recurrence.state import apply
from unroll.sequence.attention import Kind, Memory, attention
from unroll.sequence.losses import Softmax


class Writing(NamedTuple):
    """The state of R texts being written; the rows are in dim 1, as in every state."""

    recurrent: Any
    """of the decoder"""
    joined: Tensor
    """r of the previous step, [1, R, E]"""
    covered: Tensor
    """sum of the attention so far, [1, R, S]"""


class EncoderDecoder(nn.Module):
    """A recurrent encoder-decoder with attention, over the numbers of tokens.

    Args:
        words: tokens of the source and of the target language.
        cell, hidden, layers: of the encoder, per direction; the decoder has as many units as both directions together,
            so that it starts in the state that the encoder ends in.
        embedding: E, features of a token's vector and of r.
        attention_kind, heads, coverage: see `unroll.sequence.attention`.
        feeding: make r an input of the next step.
        scaled: multiply embeddings by sqrt(E) on the way into the recurrence (Vaswani et al. 2017): weights that are
            small enough for an output layer are then large enough for the gates; those of rare tokens need not grow.
        tied: "target": the output layer shares the target embedding's weights; "all": so does the source embedding.
        dropout: rate, with one mask for all steps: on embeddings, on the memory, on r, and between layers.
        word_dropout: fraction of tokens whose whole embedding is dropped.
    """

    def __init__(
        self, words: tuple[int, int], *, cell: str = "lstm", hidden: int = 128, layers: int = 1, embedding: int = 128,
        attention_kind: Kind = "general", heads: int = 4, coverage: bool = False, feeding: bool = False,
        scaled: bool = True, tied: str = "target", dropout: float = 0.0, word_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.feeding, self.coverage, self.word_dropout = feeding, coverage, word_dropout
        self.scale = embedding**0.5 if scaled else 1.0
        self.embed_target = _embedding(words[1], embedding)
        self.embed_source = self.embed_target if tied == "all" else _embedding(words[0], embedding)
        self.encoder = Recurrent(
            cell, embedding, hidden, layers, bidirectional=True, dropout=dropout, variational=(dropout, 0.0, 0.0)
        )
        size = self.encoder.output_size
        self.decoder = Recurrent(
            cell, embedding * (1 + feeding), size, layers,
            dropout=dropout, variational=(0.0 if feeding else dropout, 0, 0),
        )  # fmt: skip
        self.attention = attention(attention_kind, self.decoder.output_size, size, heads=heads, coverage=coverage)
        self.join = nn.Linear(self.decoder.output_size + size, embedding)
        self.drop = VariationalDropout(dropout)
        self.output = Softmax(self.embed_target.weight if tied != "none" else _embedding(words[1], embedding).weight)

    def begin(self, source: Tensor, lengths: Tensor) -> tuple[Memory, Writing]:
        """The memory of the source sentences [S, B], and the state of B empty texts."""
        states, last = self.encoder(self._embedded(self.embed_source, source), lengths=lengths)
        memory = self.attention.remember(self.drop(states), lengths)
        rows, device = source.shape[1], states.device
        joined = torch.zeros(1, rows, self.join.out_features, device=device)
        start = apply(_started, last, self.decoder.initial(rows))
        return memory, Writing(start, joined, torch.zeros(1, rows, len(source), device=device))

    def advance(self, tokens: Tensor, state: Writing, memory: Memory) -> tuple[Tensor, Writing]:
        """Log probabilities [R, V] after tokens [R], of R texts: R / B for each of the memory's B sentences."""
        embedded = self._embedded(self.embed_target, tokens)
        if self.feeding:
            embedded = torch.cat((embedded, state.joined[0]), 1)
        hidden, recurrent = self.decoder.step(embedded, state.recurrent)
        # Each text of a sentence is a query of its own: [R / B, B, H].
        rows = memory.inside.shape[1]
        covered = _apart(state.covered[0], rows) if self.coverage else None
        context, weights = self.attention(_apart(hidden, rows), memory, covered)
        context, weights = (x.transpose(0, 1).flatten(0, 1) for x in (context, weights))
        joined = self._joined(hidden, context)
        return self.output.log_probs(joined), Writing(recurrent, joined[None], state.covered + weights)

    def uncovered(self, state: Writing, memory: Memory) -> Tensor:
        """Sum over the source of log min(attention, 1), [R] (Wu et al. 2016): how much of it was not attended to."""
        logs = state.covered[0].clamp(1e-9, 1.0).log()
        inside = memory.inside.T.repeat_interleave(len(logs) // memory.inside.shape[1], 0)
        return (logs * inside).sum(1)

    def write(self, inputs: Tensor, memory: Memory, state: Writing) -> tuple[Tensor, Tensor]:
        """The states r before the output layer, [T, B, E], and the attention weights, [T, B, S], of given texts.

        Args:
            inputs: the token before each token, [T, B].
            memory, state: see `begin`.
        """
        embedded = self._embedded(self.embed_target, inputs)
        if self.feeding:
            return self._write_stepwise(embedded, memory, state)
        hidden, _ = self.decoder(embedded, state.recurrent)
        context, weights = self._attend(hidden, memory)
        return self.drop(self._joined(hidden, context)), weights

    def _attend(self, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Contexts and weights for all steps [T, B, H]: at once, or with coverage one after the other."""
        if not self.coverage:
            contexts, weights = self.attention(hidden, memory)
            return contexts, weights
        covered = hidden.new_zeros(memory.inside.T.shape)
        found = []
        for query in hidden.split(1):
            found.append(self.attention(query, memory, covered))
            covered = covered + found[-1][1][0]
        contexts, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
        return contexts, weights

    def _write_stepwise(self, embedded: Tensor, memory: Memory, state: Writing) -> tuple[Tensor, Tensor]:
        recurrent, joined, covered = state.recurrent, state.joined[0], state.covered[0]
        found = []
        for step in self.drop(embedded):
            hidden, recurrent = self.decoder.step(torch.cat((step, joined), 1), recurrent)
            context, weights = self.attention(hidden[None], memory, covered if self.coverage else None)
            joined, covered = self._joined(hidden, context[0]), covered + weights[0]
            found.append((joined, weights[0]))
        outputs, looked = (torch.stack(parts) for parts in zip(*found, strict=True))
        return self.drop(outputs), looked

    def _joined(self, hidden: Tensor, context: Tensor) -> Tensor:
        return torch.tanh(self.join(torch.cat((hidden, context), -1)))

    def _embedded(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        vectors: Tensor = table(tokens) * self.scale
        if self.training and self.word_dropout:
            vectors = nn.functional.dropout(torch.ones_like(vectors[..., :1]), self.word_dropout) * vectors
        return vectors


def _started(ended: Tensor, initial: Tensor) -> Tensor:
    """A decoder state [L, B, 2H] from an encoder state [2L, B, H]: the directions of each layer are concatenated."""
    joined = torch.cat((ended[::2], ended[1::2]), -1)
    return joined if joined.shape == initial.shape else initial


def _apart(x: Tensor, rows: int) -> Tensor:
    """[B x W, F] -> [W, B, F]."""
    return x.view(rows, -1, x.shape[1]).transpose(0, 1)


def _embedding(size: int, features: int) -> nn.Embedding:
    table = nn.Embedding(size, features)
    # The scale of an output layer, since these weights may be shared with one.
    nn.init.uniform_(table.weight, -0.1, 0.1)
    return table
