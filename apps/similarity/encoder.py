"""Sentences to vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.recurrence import Recurrent
from unroll.sequence.pooling import Kind, Pooling, mean
from unroll.sequence.spelling import Spelling


class Encoder(nn.Module):
    """Sentences to vectors: embedding, recurrent network, pooling over the states.

    Args:
        words: the vocabulary, in the order of its numbers.
        embedding: size of a word embedding.
        cell, hidden, layers, bidirectional: of the recurrent network.
        pooling: of its states; several kinds are concatenated.
        bag: concatenate the mean of the word embeddings as well.
        spelling: also embed words by their spelling.
        dropout: rate on word embeddings (one mask for all steps) and between layers.
        word_dropout: fraction of words replaced by the unknown one in training.
        weight_drop: fraction of recurrent weights dropped.
        unknown: number of the unknown word; None: there is none.
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
