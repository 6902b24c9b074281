"""A Siamese network: one recurrent encoder reads both sentences, a head compares the two vectors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unroll.errors import UserError
from unroll.sequence.batching import pad
from unroll.sequence.tokens import Tokeniser

from . import heads
from .encoder import Encoder
from .sources import ENTAILMENT
from .text import plain
from .vectors import start_from

AT_ONCE = 256
"""sentences per pass in prediction"""


class Siamese(nn.Module):
    """The encoder, the head that scores, and optionally one that classifies entailment.

    Args:
        tokeniser: of the data.
        head: kind of the head that gives the score.
        embedding, hidden, dropout, options: of `Encoder`; the heads have the same hidden units and dropout.
        entailment: weight of the entailment loss; 0: no head for it.
        vectors: facts of the prepared set about the user's word vectors, from which words start; their size replaces
            `embedding`.
        low, high: scores of sentences that have nothing in common, and of equal ones, on the data's scale.
        rank: `predict` takes a query and sentences to rank, instead of pairs.
        top: number of sentences that it returns.
    """

    def __init__(
        self, tokeniser: Tokeniser, *, head: heads.Kind, embedding: int, hidden: int, dropout: float,
        entailment: float = 0.0, vectors: dict[str, Any] | None = None, low: float = 0.0, high: float = 1.0,
        rank: bool = False, top: int = 10, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokeniser, self.low, self.high = tokeniser, low, high
        self.rank, self.top = rank, top
        embedding = vectors["dimension"] if vectors else embedding
        options |= {"hidden": hidden, "dropout": dropout, "unknown": tokeniser.unknown}
        self.encoder = Encoder(tokeniser.symbols, embedding, **options)
        if vectors:
            start_from(self.encoder.embedding, vectors)
        features = self.encoder.output_size
        second = heads.Entailment(features, hidden, dropout, len(ENTAILMENT)) if entailment else None
        self.head = heads.make(head, features, hidden, dropout)
        self.entailment, self.weight = second, entailment

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides of B pairs, tokens [T, 2B] and lengths [2B] -> two vectors each, [B, F]."""
        u, v = self.encoder(tokens, lengths).chunk(2)
        return u, v

    def scores(self, u: Tensor, v: Tensor) -> list[float]:
        """The scores of pairs of vectors [B, F], on the data's own scale."""
        scores: list[float] = self.scale(self.head.score(u, v)).tolist()
        return scores

    def entailments(self, u: Tensor, v: Tensor) -> list[str]:
        """The most probable of ENTAILMENT for pairs of vectors [B, F]; "" where the model has not learned them."""
        if self.entailment is None:
            return [""] * len(u)
        return [ENTAILMENT[number] for number in self.entailment(u, v).argmax(1).tolist()]

    def scale(self, score: Tensor) -> Tensor:
        """From 0..1 to the data's own scale."""
        return self.low + (self.high - self.low) * score

    def encode(self, sentences: Sequence[str], name: str = "input") -> Tensor:
        """One vector per sentence, [N, F]; sentences of similar length are encoded together.

        Raises:
            UserError: a sentence is empty (names its number, from 1).
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
