"""Vectors of words from their letters: a word that was rare, or never seen, in training has one as well."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LETTERS = (3, 5)
"""of the shortest and of the longest piece of a word"""
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
    short, long = LETTERS
    found = [marked[i : i + n] for n in range(short, long + 1) for i in range(len(marked) - n + 1)]
    return found or [marked]


def _bucket(piece: str) -> int:
    """FNV-1a, 32 bits: Python's own hash differs from process to process."""
    value = 2166136261
    for byte in piece.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value % BUCKETS
