"""A Siamese network: one recurrent encoder reads both sentences, a head compares the two vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.data.files import read_arrays
from unroll.errors import UserError
from unroll.recurrence import Recurrent
from unroll.sequence.batching import pad
from unroll.sequence.pooling import Kind, Pooling, mean
from unroll.sequence.tokens import Tokeniser

from . import heads
from .sources import ENTAILMENT
from .text import plain

AT_ONCE = 256
"""sentences encoded in one pass, in prediction"""
SPELLING = (3, 5)
"""letters of the shortest and of the longest piece of a word"""
BUCKETS = 8192
"""vectors that the pieces of words share"""


class Spelling(nn.Module):
    """A vector per word from the pieces that it is spelled with, hashed (Bojanowski et al. 2017: fastText).

    Args:
        words: the vocabulary.
        features: of a vector.
    """

    pieces: Tensor
    """buckets of the pieces of all words, one after the other"""
    starts: Tensor
    """where each word's begin, [V]"""

    def __init__(self, words: Sequence[str], features: int) -> None:
        super().__init__()
        pieces = [[_bucket(piece) for piece in _pieces(word)] for word in words]
        starts = torch.tensor([0, *(len(row) for row in pieces[:-1])]).cumsum(0)
        self.register_buffer("pieces", torch.tensor([p for row in pieces for p in row]), persistent=False)
        self.register_buffer("starts", starts, persistent=False)
        self.weight = nn.Parameter(torch.randn(BUCKETS, features))

    def forward(self) -> Tensor:
        """The vectors of all words, [V, features]."""
        return F.embedding_bag(self.pieces, self.weight, self.starts, mode="mean")


def _pieces(word: str) -> list[str]:
    marked = f"<{word}>"
    short, long = SPELLING
    found = [marked[i : i + n] for n in range(short, long + 1) for i in range(len(marked) - n + 1)]
    return found or [marked]


def _bucket(piece: str) -> int:
    """FNV-1a, 32 bits: Python's own hash differs from process to process."""
    value = 2166136261
    for byte in piece.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value % BUCKETS


class Encoder(nn.Module):
    """Sentences to vectors: embedding, recurrent network, pooling over the states.

    Args:
        words: the vocabulary, in the order of its numbers.
        embedding: features of a word's vector.
        cell, hidden, layers, bidirectional: of the recurrent network.
        pooling: of its states; several kinds are put side by side.
        bag: the mean of the words' vectors is put beside them.
        spelling: words are embedded by their letters as well.
        dropout: share of features dropped: of words (the same in all steps), between layers.
        word_dropout: share of words replaced by the unknown one in training.
        weight_drop: share of recurrent weights dropped.
    """

    def __init__(
        self,
        words: Sequence[str],
        embedding: int,
        cell: str,
        hidden: int,
        layers: int,
        *,
        bidirectional: bool = True,
        pooling: tuple[Kind, ...] = ("max",),
        bag: bool = False,
        spelling: bool = False,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        weight_drop: float = 0.0,
        unknown: int | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(words), embedding)
        self.spelling = Spelling(words, embedding) if spelling else None
        self.recurrent = Recurrent(
            cell, embedding, hidden, layers, bidirectional=bidirectional,
            dropout=dropout, variational=(dropout, 0.0, 0.0), weight_drop=weight_drop,
        )  # fmt: skip
        self.pooling = Pooling(pooling, self.recurrent.output_size, self.recurrent.directions)
        self.bag, self.unknown, self.word_dropout = bag, unknown, word_dropout
        self.output_size = self.pooling.output_size + bag * embedding

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens [T, B], lengths [B] -> [B, F]."""
        if self.training and self.word_dropout and self.unknown is not None:
            tokens = tokens.masked_fill(
                torch.rand(tokens.shape, device=tokens.device) < self.word_dropout, self.unknown
            )
        words = F.embedding(tokens, self._vectors())
        states, _ = self.recurrent(words, lengths=lengths)
        vector = self.pooling(states, lengths)
        return torch.cat((vector, mean(words, lengths)), 1) if self.bag else vector

    def _vectors(self) -> Tensor:
        weight = self.embedding.weight
        return weight if self.spelling is None else weight + self.spelling()


class Siamese(nn.Module):
    """The encoder, the head that scores, and where it is wanted one that names the entailment.

    Args:
        tokeniser: of the data.
        encoder: the same for both sentences.
        head: gives the score.
        entailment: gives logits of ENTAILMENT from the two vectors; None: not asked for.
        weight: of the entailment's loss beside the score's.
        low, high: scores of sentences that have nothing in common, and of equal ones, on the data's scale.
        rank: `predict` takes a query and sentences to rank, instead of pairs.
        top: how many of them it gives.
    """

    def __init__(
        self, tokeniser: Tokeniser, encoder: Encoder, head: heads.Head, entailment: heads.Entailment | None = None,
        *, weight: float = 0.0, low: float = 0.0, high: float = 1.0, rank: bool = False, top: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokeniser = tokeniser
        self.encoder, self.head, self.entailment = encoder, head, entailment
        self.weight, self.low, self.high = weight, low, high
        self.rank, self.top = rank, top

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of B pairs, tokens [T, 2B] and lengths [2B] -> two vectors each, [B, F]."""
        u, v = self.encoder(tokens, lengths).chunk(2)
        return u, v

    def scale(self, score: Tensor) -> Tensor:
        """From 0..1 to the data's own scale."""
        return self.low + (self.high - self.low) * score

    def encode(self, sentences: Sequence[str], name: str = "input") -> Tensor:
        """One vector per sentence, [N, F], each encoded once, those of similar length together.

        Raises:
            UserError: an empty sentence, by its number from 1.
        """
        numbers = [self._numbers(sentence, f"{name} {i}") for i, sentence in enumerate(sentences, start=1)]
        order = sorted(range(len(numbers)), key=lambda i: len(numbers[i]))
        vectors = self.encoder.embedding.weight.new_empty(len(numbers), self.encoder.output_size)
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            tokens, lengths = pad([torch.tensor(numbers[i]) for i in rows])
            vectors[rows] = self.encoder(tokens.to(vectors.device), lengths)
        return vectors

    def _numbers(self, sentence: str, where: str) -> list[int]:
        text = plain(sentence, self.tokeniser.units)
        if not text:
            raise UserError(f"{where}: a sentence is empty; write it")
        return self.tokeniser.encode(text)


def build(
    tokeniser: Tokeniser,
    *,
    embedding: int,
    cell: str,
    hidden: int,
    layers: int,
    bidirectional: bool,
    pooling: tuple[Kind, ...],
    bag: bool,
    spelling: bool,
    head: heads.Kind,
    dropout: float,
    word_dropout: float,
    weight_drop: float,
    vectors: dict[str, Any] | None = None,
    entailment: float = 0.0,
    **options: Any,
) -> Siamese:
    """The network with fresh weights; words that the user's vectors know start from them.

    Args:
        vectors: facts of the prepared set about them, see `data.prepare`; its dimension takes the place of `embedding`.
        entailment: weight of that loss; 0: no such head.
        options: `low`, `high`, `rank` and `top` of `Siamese`.
    """
    encoder = Encoder(
        tokeniser.symbols,
        vectors["dimension"] if vectors else embedding,
        cell, hidden, layers,
        bidirectional=bidirectional, pooling=pooling, bag=bag, spelling=spelling,
        dropout=dropout, word_dropout=word_dropout, weight_drop=weight_drop, unknown=tokeniser.unknown,
    )  # fmt: skip
    if vectors:
        _start_from(encoder.embedding, vectors)
    features = encoder.output_size
    second = heads.Entailment(features, hidden, dropout, len(ENTAILMENT)) if entailment else None
    made = heads.make(head, features, hidden, dropout)
    return Siamese(tokeniser, encoder, made, second, weight=entailment, **options)


def _start_from(embedding: nn.Embedding, vectors: dict[str, Any]) -> None:
    """Put the user's rows into the embedding. Elsewhere than where they were prepared, a saved model has its own."""
    folder = Path(vectors["folder"])
    if folder.is_dir():
        rows = torch.from_numpy(read_arrays(folder)["vectors"].copy())
        with torch.no_grad():
            embedding.weight[vectors["numbers"]] = rows
