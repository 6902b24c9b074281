"""Pools the states of a sequence into one vector: the last state, the mean, the maximum, or attention over them.

States are [T, B, D], lengths [B]. Steps past a row's end are ignored; a row without steps gives zeros.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["last", "mean", "max", "attention"]


def _inside(states: Tensor, lengths: Tensor) -> Tensor:
    """Which steps belong to each row, bool [T, B, 1]. `lengths` may be on the CPU, where `Recurrent` needs them."""
    steps = torch.arange(len(states), device=states.device)
    return (steps[:, None] < lengths.to(states.device))[..., None]


def last(states: Tensor, lengths: Tensor, directions: int = 1) -> Tensor:
    """The final state of each direction: [B, D].

    Args:
        states: [T, B, D]; with two directions the second half of D is the backward one, which ends at step 0.
        lengths: steps of each row, [B].
        directions: 1 or 2.
    """
    forward, *backward = states.chunk(directions, dim=2)
    lengths = lengths.to(states.device)
    index = (lengths - 1).clamp(min=0)[None, :, None].expand(1, -1, forward.shape[2])
    ends = [forward.gather(0, index)[0], *(half[0] for half in backward)]
    return torch.cat(ends, 1).masked_fill((lengths == 0)[:, None], 0)


def mean(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean over each row's own steps: [B, D]."""
    inside = _inside(states, lengths)
    return states.masked_fill(~inside, 0).sum(0) / inside.sum(0).clamp(min=1)


def maximum(states: Tensor, lengths: Tensor) -> Tensor:
    """The largest value of each feature over each row's own steps: [B, D] (Conneau et al. 2017, BiLSTM-max)."""
    inside = _inside(states, lengths)
    return states.masked_fill(~inside, -torch.inf).amax(0).masked_fill(~inside.any(0), 0)


class AttentionPooling(nn.Module):
    """A weighted mean with weights softmax_t(v . tanh(W s_t)): Yang et al. 2016 and Lin et al. 2017 with one hop.

    Args:
        features: D.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, features)
        self.score = nn.Linear(features, 1, bias=False)

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The weight of each step, [T, B, 1]: they sum to one over each row's steps, or to zero if it has none."""
        inside = _inside(states, lengths)
        scores = self.score(torch.tanh(self.project(states)))
        # A finite floor, so that a row without steps does not give 0/0.
        floor = torch.finfo(scores.dtype).min
        weights: Tensor = scores.masked_fill(~inside, floor).softmax(0) * inside
        return weights

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[T, B, D] -> [B, D]."""
        return (self.weights(states, lengths) * states).sum(0)


class Pooling(nn.Module):
    """One or more kinds of pooling, concatenated.

    Args:
        kinds: their names, for example ("mean", "max").
        features: D of the states.
        directions: of the network that produced the states.

    Raises:
        ValueError: no kind, or an unknown one.
    """

    def __init__(self, kinds: tuple[Kind, ...], features: int, directions: int = 1) -> None:
        super().__init__()
        known = ("last", "mean", "max", "attention")
        if not kinds or any(kind not in known for kind in kinds):
            raise ValueError(f"pooling must be one or more of {', '.join(known)}, got {kinds!r}")
        self.kinds, self.directions = kinds, directions
        self.attention = AttentionPooling(features) if "attention" in kinds else None
        self.output_size = len(kinds) * features

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[T, B, D] -> [B, kinds x D]."""
        return torch.cat([self._pool(kind, states, lengths) for kind in self.kinds], 1)

    def _pool(self, kind: Kind, states: Tensor, lengths: Tensor) -> Tensor:
        match kind:
            case "last":
                return last(states, lengths, self.directions)
            case "mean":
                return mean(states, lengths)
            case "max":
                return maximum(states, lengths)
            case "attention":
                assert self.attention is not None
                pooled: Tensor = self.attention(states, lengths)
                return pooled

    def extra_repr(self) -> str:
        """The kinds."""
        return ", ".join(self.kinds)
