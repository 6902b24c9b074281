"""Word vectors from spelling, also for words that are rare or unseen in training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LETTERS = (3, 5)
"""letters of the shortest and the longest piece of a word"""
BUCKETS = 8192
"""number of vectors that the pieces of words share"""


class Spelling(nn.Module):
    """A vector per word from hashed pieces of its spelling (Bojanowski et al. 2017: fastText).

    Args:
        words: the vocabulary.
        features: size of a vector.
    """

    pieces: Tensor
    """buckets of the pieces of all words, concatenated"""
    starts: Tensor
    """where each word's pieces begin, [V]"""

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
    """32-bit FNV-1a: Python's own hash differs between processes."""
    value = 2166136261
    for byte in piece.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value % BUCKETS
