"""The recommender: a recurrent network reads the clicks, and its output is compared with all item vectors."""

from typing import Any

import torch
from torch import Tensor, nn

from unroll.recurrence import Recurrent

from .catalogue import Catalogue
from .data import GAPS
from .items import ItemVectors
from .objective import Objective
from .options import Decoding


class Recommender(nn.Module):
    """Next-item prediction (Hidasi and others, 2016; with shared vectors: Hidasi and Karatzoglou, 2018).

    It has the catalogue and the objective, so that saved weights and facts are enough to recommend.

    Args:
        catalogue: the N items.
        objective: the training loss.
        decoding: how predictions and evaluations use the scores.
        cell, hidden, layers: of `unroll.recurrence.Recurrent`; `hidden` is also the width of the item vectors.
        shared: weight tying: input and output share the item vectors.
        dropout: dropout rate after each recurrent layer.
        dropout_input: dropout rate on the input item vectors.
        gaps: use the time since the previous click as an input.
        cold: see `ItemVectors`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        objective: Objective,
        decoding: Decoding | None = None,
        *,
        cell: str = "gru",
        hidden: int = 128,
        layers: int = 1,
        shared: bool = True,
        dropout: float = 0.0,
        dropout_input: float = 0.0,
        gaps: bool = False,
        cold: float = 0.0,
    ) -> None:
        super().__init__()
        self.catalogue, self.objective, self.decoding = catalogue, objective, decoding or Decoding()
        self.output = ItemVectors(catalogue, hidden, cold)
        self.input = None if shared else ItemVectors(catalogue, hidden, cold)
        if self.input is not None:
            self.input.register_parameter("bias", None)  # the input needs no scores
        self.gaps = nn.Embedding(GAPS, hidden) if gaps else None
        if self.gaps is not None:
            nn.init.zeros_(self.gaps.weight)
        self.dropout_input, self.dropout = nn.Dropout(dropout_input), nn.Dropout(dropout)
        self.recurrent = Recurrent(cell, hidden, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        width = self.recurrent.output_size
        self.adapt = nn.Identity() if width == hidden else nn.Linear(width, hidden)

    def forward(
        self,
        items: Tensor,
        gaps: Tensor | None = None,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Clicks [T, B] -> what is compared with the item vectors, [T, B, D], and the state.

        Args:
            items: numbers in the catalogue.
            gaps: bucket of the time since the click before, [T, B]; None: not known.
            state: what the call for the clicks before returned.
            lengths: clicks of each row, [B].
            reset: where a session begins, [T, B] bool.
        """
        x = self.dropout_input((self.input or self.output)(items))
        if self.gaps is not None:
            x = x + self.gaps(torch.zeros_like(items) if gaps is None else gaps)
        hidden, state = self.recurrent(x, state, lengths=lengths, reset=reset)
        return self.adapt(self.dropout(hidden)), state

    def scores(self, hidden: Tensor, seen: Tensor | None = None) -> Tensor:
        """Scores of all items, [P, N], for `hidden` [P, D]; `seen` items [P, S] are left out where decoding says so."""
        scores = self.output.scores(hidden)
        if self.decoding.exclude_seen and seen is not None:
            scores = scores.scatter(1, seen, -torch.inf)
        return scores
