"""Following a session as it happens: a click in, a new ranking out, at a constant cost per click."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unroll.recurrence import state as protocol

from .data import gap_bucket
from .model import Recommender
from .predict import item


class Session:
    """The state of one session, kept between its clicks.

    Args:
        model: trained, in eval mode.
    """

    def __init__(self, model: Recommender) -> None:
        self.model = model
        device = model.output.own.device
        self._state: Any = model.recurrent.initial(1)
        self._seen = torch.zeros(1, 1, len(model.catalogue), dtype=torch.bool, device=device)
        self._time = torch.full((1, 1), torch.nan, dtype=torch.float64)

    @torch.no_grad()
    def click(self, name: str, time: float | None = None) -> list[dict[str, Any]]:
        """The best items after a click on the item with this name or title.

        Args:
            name: as in the data, or a title.
            time: of the click, in seconds, for models that use the time between clicks.

        Raises:
            UserError: there is no such item; the session is unchanged.
        """
        [number] = self.model.catalogue.parse([name])
        device = self._seen.device
        gap = torch.tensor([[gap_bucket(None if time is None else time - self._time.item())]], device=device)
        hidden, self._state = self.model(torch.tensor([[number]], device=device), gap, self._state)
        self._seen[..., number] = True
        self._time.fill_(torch.nan if time is None else time)
        return self._ranking(hidden[0])

    def save(self, path: str | Path) -> None:
        """Write the session to a file, with the fingerprint of its model."""
        protocol.save(path, (self._state, self._seen, torch.nan_to_num(self._time, -1.0)), self.model)

    @classmethod
    def load(cls, path: str | Path, model: Recommender) -> "Session":
        """The session that `save` wrote. Raises ValueError if it is of another model."""
        session = cls(model)
        session._state, session._seen, time = protocol.load(path, model, session._seen.device)
        session._time = time.cpu().where(time.cpu() >= 0, torch.nan)
        return session

    def _ranking(self, hidden: Tensor) -> list[dict[str, Any]]:
        scores = self.model.scores(hidden)[0]
        if self.model.decoding.exclude_seen:
            scores = scores.masked_fill(self._seen[0, 0], -torch.inf)
        log_probabilities = scores.log_softmax(-1)
        best = log_probabilities.topk(min(self.model.decoding.k, len(scores))).indices.tolist()
        return [item(self.model, number, log_probabilities) for number in best]
