"""From two vectors to a score between 0 (nothing in common) and 1 (the same), and its loss.

A head scores vectors u [..., F] against v [..., F], with broadcasting; `table` scores every u against every v. Every
head is symmetric: the order of the two sentences never changes their score.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .sources import UNLABELLED

Kind = Literal["manhattan", "cosine", "regression", "distribution"]


class Head(nn.Module):
    """The base of all heads; each implements `score`."""

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [...], each from 0 to 1."""
        raise NotImplementedError

    def loss(self, u: Tensor, v: Tensor, target: Tensor) -> Tensor:
        """The loss of each pair: u, v [B, F], target [B] from 0 to 1 -> [B]."""
        return F.mse_loss(self.score(u, v), target, reduction="none")

    def table(self, u: Tensor, v: Tensor) -> Tensor:
        """u [Q, F], v [N, F] -> [Q, N]."""
        return torch.cat([self.score(row[None], v)[None] for row in u])


class Manhattan(Head):
    """exp(-s ||u - v||_1): MaLSTM (Mueller and Thyagarajan 2016), there with s = 1.

    s is learned, starting at 1 / F: with s = 1 and some hundred features, every score starts at zero and has no
    gradient.

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(features)))

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [...]."""
        return torch.exp(-self.log_scale.exp() * (u - v).abs().sum(-1))

    def table(self, u: Tensor, v: Tensor) -> Tensor:
        """u [Q, F], v [N, F] -> [Q, N]."""
        return torch.exp(-self.log_scale.exp() * torch.cdist(u, v, p=1))


class Cosine(Head):
    """(1 + cos(u, v)) / 2."""

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [...]."""
        return (1 + F.cosine_similarity(u, v, dim=-1)) / 2

    def table(self, u: Tensor, v: Tensor) -> Tensor:
        """u [Q, F], v [N, F] -> [Q, N]: one matrix product."""
        return (1 + F.normalize(u, dim=-1) @ F.normalize(v, dim=-1).T) / 2


class Regression(Head):
    """sigmoid(W2 tanh(W1 [|u - v|, u * v])): the symmetric ones of InferSent's features (Conneau et al. 2017).

    Args:
        features: F.
        hidden: hidden units.
        dropout: rate on the features and on the hidden units.
        outputs: number of outputs.
    """

    def __init__(self, features: int, hidden: int, dropout: float, outputs: int = 1) -> None:
        super().__init__()
        self.layers = _layers(2 * features, hidden, outputs, dropout)

    def logits(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [..., outputs]."""
        logits: Tensor = self.layers(torch.cat(((u - v).abs(), u * v), -1))
        return logits

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [...]."""
        return self.logits(u, v)[..., 0].sigmoid()


class Distribution(Regression):
    """A distribution over K equidistant scores, whose mean is the score (Tai, Socher and Manning 2015, eq. 15).

    The target distribution is over the two scores around the true one, with the true one as its mean; the loss is the
    Kullback-Leibler divergence from it. SICK's 1 to 5 have K = 5.
    """

    values: Tensor
    """the K scores, [K]"""

    def __init__(self, features: int, hidden: int, dropout: float, classes: int = 5) -> None:
        super().__init__(features, hidden, dropout, classes)
        self.register_buffer("values", torch.linspace(0, 1, classes), persistent=False)

    def score(self, u: Tensor, v: Tensor) -> Tensor:
        """[..., F] x [..., F] -> [...]."""
        return self.logits(u, v).softmax(-1) @ self.values

    def loss(self, u: Tensor, v: Tensor, target: Tensor) -> Tensor:
        """The loss of each pair: u, v [B, F], target [B] from 0 to 1 -> [B]."""
        wanted = spread(target, len(self.values))
        return F.kl_div(self.logits(u, v).log_softmax(-1), wanted, reduction="none").sum(-1)


def spread(target: Tensor, classes: int) -> Tensor:
    """target [B] from 0 to 1 -> [B, classes]: distributions over the two nearest of `classes` equidistant scores."""
    place = target * (classes - 1)
    below = place.floor().clamp(max=classes - 2)
    above = place - below
    index = below.long()[:, None]
    empty = torch.zeros(len(target), classes, dtype=target.dtype, device=target.device)
    return empty.scatter(1, index, 1 - above[:, None]).scatter(1, index + 1, above[:, None])


class Entailment(nn.Module):
    """[u, v, |u - v|, u * v] -> logits of ENTAILMENT; not symmetric, since entailment depends on the order."""

    def __init__(self, features: int, hidden: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.layers = _layers(4 * features, hidden, classes, dropout)

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """[B, F] x [B, F] -> [B, classes]."""
        logits: Tensor = self.layers(torch.cat((u, v, (u - v).abs(), u * v), -1))
        return logits

    def loss(self, u: Tensor, v: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the pairs that have a label: u, v [B, F], labels [B]. 0 where none has."""
        # Summed and divided by hand: the mean over no label at all is NaN.
        errors = F.cross_entropy(self(u, v), labels, reduction="sum", ignore_index=UNLABELLED)
        return errors / (labels != UNLABELLED).sum().clamp(min=1)


def _layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    drop = nn.Dropout(dropout)
    return nn.Sequential(drop, nn.Linear(inputs, hidden), nn.Tanh(), drop, nn.Linear(hidden, outputs))


def make(kind: Kind, features: int, hidden: int, dropout: float) -> Head:
    """The head of that name. Raises ValueError for an unknown one."""
    match kind:
        case "manhattan":
            return Manhattan(features)
        case "cosine":
            return Cosine()
        case "regression":
            return Regression(features, hidden, dropout)
        case "distribution":
            return Distribution(features, hidden, dropout)
    raise ValueError(f"head must be manhattan, cosine, regression or distribution, got {kind!r}")
