"""The ranks of a split, collected batch by batch: its metrics, and a record of each session."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from unroll.sequence.ranking import Ranking, rank, recall, reciprocal

from .catalogue import Catalogue
from .data import NOTHING, Batch
from .metrics import DEEPEST, metrics, sums

SHOWN = 5
"""number of recommendations in a record"""


def history(batch: Batch) -> Tensor:
    """Items seen before each prediction, [P, T], padded with the last of them."""
    step, row = (batch.targets != NOTHING).nonzero(as_tuple=True)
    inside = torch.arange(len(batch.items), device=step.device) <= step[:, None]
    return torch.where(inside, batch.items.T[row], batch.items[step, row][:, None])


class Results:
    """Ranks of a split, collected batch by batch."""

    def __init__(self, catalogue: Catalogue, sampled: int = 0) -> None:
        self.catalogue, self.sampled = catalogue, sampled
        self._rankings: list[Ranking] = []
        self._targets: list[Tensor] = []
        self._best: list[Tensor] = []
        self._names: list[str] = []
        self._users: dict[str, str] = {}

    def add(self, batch: Batch, score: Any) -> None:
        """Rank the predictions of a batch; `score` as in `unroll.sequence.ranking.rank`."""
        wanted = batch.targets != NOTHING
        k = min(DEEPEST, len(self.catalogue))
        self._rankings.append(rank(score, batch.targets[wanted], k=k, sampled=self.sampled))
        self._targets.append(batch.targets[wanted])
        self._best.append(batch.best[wanted])
        self._users |= dict(zip(batch.names, batch.users, strict=False))  # empty if the log has no users
        self._names += [batch.names[row] for row in wanted.nonzero()[:, 1].tolist()]

    def metrics(self) -> dict[str, float]:
        """See `unroll.apps.recommend.metrics.metrics`."""
        targets, best = torch.cat(self._targets), torch.cat(self._best)
        return metrics(self._rankings, targets, best, self.catalogue, self.sampled)

    def records(self) -> list[dict[str, Any]]:
        """One row per session: its ranks, and its last click beside the recommendations for it."""
        ranks, targets, best = self._joined()
        top = torch.cat([ranking.top[:, :SHOWN] for ranking in self._rankings]).tolist()
        places = defaultdict(list)
        for place, name in enumerate(self._names):
            places[name].append(place)
        scores = {"score": recall(ranks, DEEPEST), "mrr@20": reciprocal(ranks, DEEPEST)}
        titles = self.catalogue.titles
        return [
            {
                "id": name,
                **({"group": self._users[name] or None} if self._users else {}),
                "reference": titles[targets[own[-1]]],
                "prediction": " | ".join(titles[item] for item in top[own[-1]]),
                **{key: values[own].mean().item() for key, values in scores.items()},
                "clicks": len(own),  # the weight of a session in every metric
                **sums(ranks[own], best[own]),
                "ranks": ranks[own].tolist(),
                "best_ranks": best[own].tolist(),
            }
            for name, own in places.items()
        ]

    def _joined(self) -> tuple[Tensor, list[int], Tensor]:
        # A batch interleaves sessions, but keeps the order within each.
        ranks = torch.cat([ranking.ranks for ranking in self._rankings]).cpu()
        return ranks, torch.cat(self._targets).tolist(), torch.cat(self._best).cpu()
