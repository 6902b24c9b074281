"""Bits per character and perplexity, from the surprisal of a stream."""

import math
from dataclasses import dataclass


@dataclass
class Total:
    """Totals over a stream."""

    nats: float = 0.0
    """surprisal of all tokens"""
    tokens: int = 0
    characters: int = 0

    def metrics(self, name: str = "") -> dict[str, float]:
        """Both metrics; `name` is that of an adaptation method, and becomes their suffix."""
        suffix = f"_{name}" if name else ""
        return {
            f"bits_per_character{suffix}": self.nats / math.log(2) / max(self.characters, 1),
            f"perplexity{suffix}": math.exp(min(self.nats / max(self.tokens, 1), 700.0)),
        }
