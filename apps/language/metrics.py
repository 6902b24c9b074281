"""Bits per character and perplexity, from the surprisal of a stream."""

import math
from dataclasses import dataclass


@dataclass
class Total:
    """What was read of a stream."""

    nats: float = 0.0
    """surprisal of all its tokens"""
    tokens: int = 0
    characters: int = 0

    def metrics(self, name: str = "") -> dict[str, float]:
        """Both figures; `name` of the way of reading, if it is not the plain one, is added to theirs."""
        suffix = f"_{name}" if name else ""
        return {
            f"bits_per_character{suffix}": self.nats / math.log(2) / max(self.characters, 1),
            f"perplexity{suffix}": math.exp(min(self.nats / max(self.tokens, 1), 700.0)),
        }
