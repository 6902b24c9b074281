"""Encoder, attention, decoder. Where attention does not feed back, all steps of the decoder are one call.

    memory, state = model.begin(source, lengths)                 once per sentence
    log_probs, state = model.advance(tokens, state, memory)      the next token of each text that is being written

The decoder reads the translation so far (a recurrent network over the target's tokens), looks at the source with the
state that it is then in, and joins both: r = tanh(W [s; c]) (Luong, Pham and Manning 2015). With `feeding` r is an
input of the next step, which then has to wait for it; without, all target steps of a batch are one call of the
recurrence, one product with the memory and one output layer.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.recurrence import Recurrent
from unroll.recurrence.dropout import VariationalDropout
from unroll.recurrence.state import apply
from unroll.sequence.attention import Kind, Memory, attention
from unroll.sequence.losses import Softmax, linear_surprisal
from unroll.sequence.tokens import Tokeniser

from .data import NOTHING


class Writing(NamedTuple):
    """Of R texts that are being written; the rows are in dim 1, as in every state."""

    recurrent: Any
    """of the decoder"""
    joined: Tensor
    """r of the step before, [1, R, E]"""
    covered: Tensor
    """sum of the attention so far, [1, R, S]"""


class Translator(nn.Module):
    """A recurrent encoder-decoder with attention.

    It holds all that it takes from a sentence to its translation, so that saved weights and facts are enough.

    Args:
        source, target: the tokenisers; the target's `first` stands before and after each translation.
        languages: from which into which.
        cell, hidden, layers: of the encoder, per direction; the decoder has as many units as both directions together,
            so that it starts in the state that the encoder ends in.
        embedding: E, features of a token's vector and of r.
        attention_kind, heads, coverage: see `unroll.sequence.attention`.
        feeding: whether r is an input of the next step.
        scaled: embeddings enter the recurrence times sqrt(E) (Vaswani et al. 2017): a table that is small enough for an
            output layer then still speaks loud enough, and the weights of rare tokens need not grow first.
        tied: "target": the output layer's weights are the target embedding; "all": and the source embedding is too.
        dropout: share of features dropped, the same in all steps: of embeddings, of the memory, of r; between layers.
        word_dropout: share of tokens whose embedding is dropped as a whole.
        smoothing: of the targets (label smoothing).
        scheduled: share of the decoder's inputs that are the model's own guesses (Mihaylova and Martins 2019: from a
            first pass over the true ones, so that training still needs no loop).
        longest: tokens of a source sentence at most.
        decoding: how texts are chosen, see `unroll.apps.translation.decode.Decoding`.
        headline: the metric that reports begin with.
    """

    def __init__(
        self,
        source: Tokeniser,
        target: Tokeniser,
        languages: Sequence[str],
        *,
        cell: str = "lstm",
        hidden: int = 128,
        layers: int = 1,
        embedding: int = 128,
        attention_kind: Kind = "general",
        heads: int = 4,
        coverage: bool = False,
        feeding: bool = False,
        scaled: bool = True,
        tied: str = "target",
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        smoothing: float = 0.0,
        scheduled: float = 0.0,
        longest: int = 200,
        decoding: Any = None,
        headline: str = "bleu",
    ) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.languages: tuple[str, str] = (languages[0], languages[1])
        self.longest, self.decoding, self.headline = longest, decoding, headline
        self.feeding, self.coverage = feeding, coverage
        self.word_dropout, self.smoothing, self.scheduled = word_dropout, smoothing, scheduled
        self.scale = embedding**0.5 if scaled else 1.0
        self.embed_target = _embedding(len(target), embedding)
        self.embed_source = self.embed_target if tied == "all" else _embedding(len(source), embedding)
        locked = (dropout, 0.0, 0.0)
        self.encoder = Recurrent(
            cell, embedding, hidden, layers, bidirectional=True, dropout=dropout, variational=locked
        )
        size = self.encoder.output_size
        self.decoder = Recurrent(
            cell,
            embedding * (1 + feeding),
            size,
            layers,
            dropout=dropout,
            variational=(0.0 if feeding else dropout, 0, 0),
        )
        self.attention = attention(attention_kind, self.decoder.output_size, size, heads=heads, coverage=coverage)
        self.join = nn.Linear(self.decoder.output_size + size, embedding)
        self.drop = VariationalDropout(dropout)
        self.output = Softmax(self.embed_target.weight if tied != "none" else _embedding(len(target), embedding).weight)

    @property
    def end(self) -> int:
        """The token before and after each translation."""
        return self.target.first

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The states r before the output layer, [T, B, E], and the attention weights, [T, B, S], of given texts.

        Args:
            source: [S, B]; lengths: [B]; inputs: `end`, then the translation, [T, B].
        """
        memory, state = self.begin(source, lengths)
        if self.training and self.scheduled:
            inputs = self._guessed(inputs, memory, state)
        return self._write(self._embedded(self.embed_target, inputs), memory, state)

    def loss(self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the targets [T, B] that are not NOTHING, in nats."""
        joined, _ = self(source, lengths, inputs)
        return self.output.loss(joined.flatten(0, 1), targets.flatten(), self.smoothing)

    def forced(self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The log probability of each token of given translations, [T, B]; zero beyond their ends."""
        joined, _ = self(source, lengths, inputs)
        inside = targets != NOTHING
        surprisal = linear_surprisal(joined[inside], self.output.weight, self.output.bias, targets[inside])
        return torch.zeros(targets.shape, device=targets.device).masked_scatter(inside, -surprisal)

    def begin(self, source: Tensor, lengths: Tensor) -> tuple[Memory, Writing]:
        """What the source sentences [S, B] are, and B empty texts."""
        states, last = self.encoder(self._embedded(self.embed_source, source), lengths=lengths)
        memory = self.attention.remember(self.drop(states), lengths)
        rows, device = source.shape[1], states.device
        joined = torch.zeros(1, rows, self.join.out_features, device=device)
        start = apply(_started, last, self.decoder.initial(rows))
        return memory, Writing(start, joined, torch.zeros(1, rows, len(source), device=device))

    def advance(self, tokens: Tensor, state: Writing, memory: Memory) -> tuple[Tensor, Writing]:
        """Log probabilities [R, V] of what follows tokens [R]; R texts, R / B of each of the memory's B sentences."""
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
        """sum over the source of log min(attention, 1), [R] (Wu et al. 2016): how much of it was not looked at."""
        logs = state.covered[0].clamp(1e-9, 1.0).log()
        inside = memory.inside.T.repeat_interleave(len(logs) // memory.inside.shape[1], 0)
        return (logs * inside).sum(1)

    def _write(self, embedded: Tensor, memory: Memory, state: Writing) -> tuple[Tensor, Tensor]:
        if self.feeding:
            return self._write_stepwise(embedded, memory, state)
        hidden, _ = self.decoder(embedded, state.recurrent)
        context, weights = self._attend(hidden, memory)
        return self.drop(self._joined(hidden, context)), weights

    def _attend(self, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Contexts and weights of all steps [T, B, H]: at once, or with coverage one after the other."""
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

    @torch.no_grad()
    def _guessed(self, inputs: Tensor, memory: Memory, state: Writing) -> Tensor:
        """The inputs with some tokens replaced by those that the model would have written there."""
        joined, _ = self._write(self._embedded(self.embed_target, inputs), memory, state)
        chosen = torch.rand(inputs[1:].shape, device=inputs.device) < self.scheduled
        guesses = nn.functional.linear(joined[:-1][chosen], self.output.weight, self.output.bias).argmax(-1)
        return torch.cat((inputs[:1], inputs[1:].masked_scatter(chosen, guesses)))


class Ensemble(nn.Module):
    """Several models that write one text together: the mean of their probabilities."""

    def __init__(self, models: Sequence[Translator]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        first = models[0]
        self.source, self.target, self.languages = first.source, first.target, first.languages
        self.end, self.longest = first.end, min(model.longest for model in models)
        self.decoding, self.headline = first.decoding, first.headline

    def begin(self, source: Tensor, lengths: Tensor) -> tuple[Any, Any]:
        """As `Translator.begin`; memory and state are tuples over the models."""
        memories, states = zip(*(model.begin(source, lengths) for model in self._members()), strict=True)
        return memories, states

    def advance(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        """As `Translator.advance`."""
        parts = [m.advance(tokens, s, k) for m, s, k in zip(self._members(), state, memory, strict=True)]
        log_probs, states = zip(*parts, strict=True)
        return self._mean(log_probs), states

    def forced(self, *batch: Tensor) -> Tensor:
        """As `Translator.forced`."""
        return self._mean([model.forced(*batch) for model in self._members()])

    def uncovered(self, state: Any, memory: Any) -> Tensor:
        """As `Translator.uncovered`, the mean."""
        parts = [m.uncovered(s, k) for m, s, k in zip(self._members(), state, memory, strict=True)]
        return torch.stack(parts).mean(0)

    def _mean(self, log_probs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(log_probs)).logsumexp(0) - math.log(len(log_probs))

    def _members(self) -> list[Translator]:
        return [model for model in self.models if isinstance(model, Translator)]


def ensemble(models: Sequence[Translator]) -> Ensemble:
    """Models as one, for all that decodes, scores and predicts.

    Raises:
        UserError: none, or models of different languages or tokenisers.
    """
    if not models:
        raise UserError("--run: an ensemble needs at least one run")
    first = models[0]
    for model in models[1:]:
        if model.languages != first.languages:
            pairs = [" to ".join(one.languages) for one in (first, model)]
            raise UserError(f"--run: one run translates {pairs[0]}, another {pairs[1]}; an ensemble needs one pair")
        if (model.source, model.target) != (first.source, first.target):
            raise UserError("--run: these runs cut sentences up differently; train them on the same prepared data")
    return Ensemble(models)


def _started(ended: Tensor, initial: Tensor) -> Tensor:
    """A state of the decoder [L, B, 2H] from the encoder's [2L, B, H]: both directions of each layer side by side."""
    joined = torch.cat((ended[::2], ended[1::2]), -1)
    return joined if joined.shape == initial.shape else initial


def _apart(x: Tensor, rows: int) -> Tensor:
    """[B x W, F] -> [W, B, F]."""
    return x.view(rows, -1, x.shape[1]).transpose(0, 1)


def _embedding(size: int, features: int) -> nn.Embedding:
    table = nn.Embedding(size, features)
    # As large as what an output layer starts with: the table may be one.
    nn.init.uniform_(table.weight, -0.1, 0.1)
    return table
