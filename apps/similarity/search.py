"""Sentences most similar to a query: all are encoded once, and a query is scored against all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import heads
from .model import Siamese

LARGE = 20_000
"""number of sentences from which scikit-learn's nearest neighbours choose the candidates that the head scores"""
CANDIDATES = 1000


class Index:
    """Encoded sentences.

    Args:
        model: in eval mode.
        sentences: to search.
    """

    def __init__(self, model: Siamese, sentences: Sequence[str]) -> None:
        self.model, self.sentences = model, list(sentences)
        self.vectors = model.encode(self.sentences, "sentence")
        self._neighbours = self._fitted() if len(self.sentences) >= LARGE else None

    def search(self, query: str, top: int) -> list[tuple[float, int, str]]:
        """(score on the data's scale, row, sentence) of the `top` most similar sentences, the best first.

        The result is exact for fewer than LARGE sentences, and for cosine and manhattan heads; other heads score the
        CANDIDATES that are nearest by cosine.
        """
        vector = self.model.encode([query], "query")
        rows = self._candidates(vector, top)
        scores = self.model.scale(self.model.head.table(vector, self.vectors[rows])[0])
        best = scores.topk(min(top, len(rows)))
        chosen = [int(rows[i]) for i in best.indices.tolist()]
        return [(score, row, self.sentences[row]) for score, row in zip(best.values.tolist(), chosen, strict=True)]

    def _fitted(self) -> Any:
        from sklearn.neighbors import NearestNeighbors

        metric = "manhattan" if isinstance(self.model.head, heads.Manhattan) else "cosine"
        return NearestNeighbors(metric=metric, algorithm="brute").fit(self.vectors.cpu().numpy())

    def _candidates(self, vector: Tensor, top: int) -> Tensor:
        if self._neighbours is None:
            return torch.arange(len(self.sentences))
        wanted = min(max(CANDIDATES, top), len(self.sentences))
        found = self._neighbours.kneighbors(vector.cpu().numpy(), wanted, return_distance=False)
        return torch.from_numpy(np.sort(found[0]))
