"""Item vectors: learned, and from features."""

import torch
from torch import Tensor, nn

from .catalogue import Catalogue


class ItemVectors(nn.Module):
    """The vector of an item is a learned one plus a linear map of its features; its bias is learned.

    A cold item, which is not in the training data, has no learned vector. In training the learned vectors are randomly
    dropped, so that the features learn to replace them (Volkovs, Yu and Poutanen, DropoutNet, 2017).

    Args:
        catalogue: the N items.
        width: D.
        cold: probability of dropping a learned vector in training, if there are features.
    """

    def __init__(self, catalogue: Catalogue, width: int, cold: float = 0.0) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(len(catalogue), width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(len(catalogue)))
        features = torch.from_numpy(catalogue.features)
        self.described = nn.Linear(features.shape[1], width, bias=False) if features.shape[1] else None
        self.cold = cold
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("known", torch.from_numpy(catalogue.counts > 0), persistent=False)
        self.features: Tensor
        self.known: Tensor

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Vectors of the `items` [...] -> [..., D], or of all items: [N, D]."""
        own = self.own if items is None else nn.functional.embedding(items, self.own)
        if self.described is None:
            return own
        features, known = (table if items is None else table[items] for table in (self.features, self.known))
        if self.training and self.cold:
            known = known & (torch.rand(known.shape, device=known.device) >= self.cold)
        vectors: Tensor = own * known[..., None] + self.described(features)
        return vectors

    def scores(self, hidden: Tensor, items: Tensor | None = None) -> Tensor:
        """Scores of the `items` [C], or of all, for P predictions [P, D]: [P, C]."""
        return nn.functional.linear(hidden, self(items), self.bias if items is None else self.bias[items])
