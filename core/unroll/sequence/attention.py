"""Attention over the steps of a memory: weights and context vectors for each query.

    memory = attention.remember(states, lengths)     once per sequence: everything that does not depend on queries
    context, weights = attention(queries, memory)    for one query or all of them at once

Queries are [T, B, Q], the memory's states [S, B, D], the context [T, B, D], the weights [T, B, S]; S may be the steps
of a sentence or the positions in an image. If queries do not depend on earlier contexts, all T are one product; if they
do (input feeding), T is 1. In beam search the queries of a row's hypotheses are T queries of that row, so the memory is
neither repeated nor reordered.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Kind = Literal["additive", "dot", "general", "multihead"]


class Memory(NamedTuple):
    """The attended memory. The rows are in dim 1 of each tensor, so that `unroll.recurrence.state` can select them."""

    keys: Tensor
    """[S, B, K], compared with the queries"""
    values: Tensor
    """[S, B, D], summed into the context"""
    inside: Tensor
    """bool [S, B], the steps that belong to each row"""


class Attention(nn.Module):
    """Base class: memory, mask, softmax, and weighted sum. Subclasses implement `keys` and `scores`.

    Args:
        queries: Q, features of a query.
        memory: D, features of the memory's states.
        coverage: whether scores also depend on how much each step has been attended to so far (Tu et al. 2016, See et
            al. 2017); `forward` then takes that sum.
    """

    def __init__(self, queries: int, memory: int, *, coverage: bool = False) -> None:
        super().__init__()
        self.queries, self.memory = queries, memory
        self.coverage = nn.Parameter(torch.zeros(1)) if coverage else None

    def keys(self, states: Tensor) -> Tensor:
        """[S, B, D] -> [S, B, K]."""
        return states

    def values(self, states: Tensor) -> Tensor:
        """[S, B, D] -> the values that are summed, [S, B, ...]."""
        return states

    def scores(self, query: Tensor, keys: Tensor, covered: Tensor | None) -> Tensor:
        """[T, B, Q], [S, B, K] and coverage [B, S] -> [T, B, S]."""
        raise NotImplementedError

    def remember(self, states: Tensor, lengths: Tensor | None = None) -> Memory:
        """The memory of states [S, B, D], of which the first lengths [B] belong to each row (None: all).

        Raises:
            ValueError: states that are not [S, B, D] with the D of this attention.
        """
        if states.ndim != 3 or states.shape[2] != self.memory:
            raise ValueError(f"expected states [S, B, {self.memory}], got {list(states.shape)}")
        steps = torch.arange(len(states), device=states.device)[:, None]
        whole = torch.full((states.shape[1],), len(states)) if lengths is None else lengths
        return Memory(self.keys(states), self.values(states), steps < whole.to(states.device))

    def forward(self, query: Tensor, memory: Memory, covered: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Contexts [T, B, D] and weights [T, B, S] of queries [T, B, Q].

        The weights sum to one over each row's own steps, or to zero in a row without any.

        Args:
            query: [T, B, Q].
            memory: from `remember`.
            covered: the sum of the weights so far, [B, S], or one per query, [T, B, S]; only with coverage=True.

        Raises:
            ValueError: queries with the wrong features or rows, or `covered` given or missing against `coverage`.
        """
        if query.ndim != 3 or query.shape[1:] != (memory.keys.shape[1], self.queries):
            raise ValueError(f"expected queries [T, {memory.keys.shape[1]}, {self.queries}], got {list(query.shape)}")
        if (covered is None) != (self.coverage is None):
            raise ValueError(f"made with coverage={self.coverage is not None}, but covered={covered is not None}")
        return self._look(query, memory, covered)

    def _look(self, query: Tensor, memory: Memory, covered: Tensor | None) -> tuple[Tensor, Tensor]:
        weights = _softmax(self.scores(query, memory.keys, covered), memory.inside)
        return _weighted(weights, memory.values), weights

    def _cover(self, scores: Tensor, covered: Tensor | None) -> Tensor:
        if covered is None:
            return scores
        assert self.coverage is not None, "forward has looked at that"
        return scores + self.coverage * covered


class Dot(Attention):
    """score = q . s (Luong, Pham and Manning 2015), for Q = D.

    Raises:
        ValueError: Q and D differ.
    """

    def __init__(self, queries: int, memory: int, *, coverage: bool = False) -> None:
        super().__init__(queries, memory, coverage=coverage)
        if queries != memory:
            raise ValueError(f"dot attention needs queries and memory of the same size, got {queries} and {memory}")

    def scores(self, query: Tensor, keys: Tensor, covered: Tensor | None) -> Tensor:
        return self._cover(_products(query, keys), covered)


class General(Attention):
    """score = q . W s (Luong, Pham and Manning 2015)."""

    def __init__(self, queries: int, memory: int, *, coverage: bool = False) -> None:
        super().__init__(queries, memory, coverage=coverage)
        self.key = nn.Linear(memory, queries, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        out: Tensor = self.key(states)
        return out

    def scores(self, query: Tensor, keys: Tensor, covered: Tensor | None) -> Tensor:
        return self._cover(_products(query, keys), covered)


class Additive(Attention):
    """score = v . tanh(W q + U s + c covered) (Bahdanau, Cho and Bengio 2015; coverage as in See et al. 2017).

    Args:
        queries: Q.
        memory: D.
        size: units of the tanh layer; None: Q.
        coverage: see `Attention`.
    """

    def __init__(self, queries: int, memory: int, *, size: int | None = None, coverage: bool = False) -> None:
        super().__init__(queries, memory, coverage=coverage)
        size = size or queries
        self.query = nn.Linear(queries, size)
        self.key = nn.Linear(memory, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)
        if coverage:
            self.coverage = nn.Parameter(torch.zeros(size))

    def keys(self, states: Tensor) -> Tensor:
        out: Tensor = self.key(states)
        return out

    def scores(self, query: Tensor, keys: Tensor, covered: Tensor | None) -> Tensor:
        inner = self.query(query)[:, :, None] + keys.transpose(0, 1)  # [T, B, S, size]
        if covered is not None:
            assert self.coverage is not None, "forward has looked at that"
            inner = inner + self.coverage * covered[..., None]
        out: Tensor = self.score(torch.tanh(inner))[..., 0]
        return out


class MultiHead(Attention):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017); the returned weights are the mean over heads.

    Args:
        queries: Q.
        memory: D, which is divided among the heads.
        heads: how many.
        coverage: see `Attention`; the same for all heads.

    Raises:
        ValueError: heads that do not divide D.
    """

    def __init__(self, queries: int, memory: int, *, heads: int = 4, coverage: bool = False) -> None:
        super().__init__(queries, memory, coverage=coverage)
        if memory % heads:
            raise ValueError(f"{heads} heads do not divide the memory's {memory} features")
        self.heads = heads
        self.query = nn.Linear(queries, memory)
        self.key = nn.Linear(memory, memory, bias=False)  # a bias here would not change the softmax
        self.value = nn.Linear(memory, memory)
        self.out = nn.Linear(memory, memory)

    def keys(self, states: Tensor) -> Tensor:
        out: Tensor = self.key(states)
        return out

    def values(self, states: Tensor) -> Tensor:
        out: Tensor = self.value(states)
        return out

    def scores(self, query: Tensor, keys: Tensor, covered: Tensor | None) -> Tensor:
        """As in `Attention`, with B x heads rows and one head's features."""
        return self._cover(_products(query, keys) / query.shape[2] ** 0.5, covered)

    def _look(self, query: Tensor, memory: Memory, covered: Tensor | None) -> tuple[Tensor, Tensor]:
        keys, values, inside = self._apart(memory.keys), self._apart(memory.values), self._each(memory.inside, 1)
        covered = None if covered is None else self._each(covered, -2)
        weights = _softmax(self.scores(self._apart(self.query(query)), keys, covered), inside)
        context: Tensor = self.out(_weighted(weights, values).reshape(len(query), -1, self.memory))
        return context, weights.view(len(query), -1, self.heads, weights.shape[2]).mean(2)

    def _apart(self, x: Tensor) -> Tensor:
        """[T, B, D] -> [T, B x heads, D / heads]."""
        return x.reshape(len(x), -1, self.memory // self.heads)

    def _each(self, x: Tensor, rows: int) -> Tensor:
        """Repeats x for every head, adjacent in the row dimension."""
        return x.repeat_interleave(self.heads, rows)


def attention(kind: Kind, queries: int, memory: int, *, heads: int = 4, coverage: bool = False) -> Attention:
    """An attention by its name.

    Raises:
        ValueError: an unknown name, or sizes that this kind does not support.
    """
    match kind:
        case "additive":
            return Additive(queries, memory, coverage=coverage)
        case "dot":
            return Dot(queries, memory, coverage=coverage)
        case "general":
            return General(queries, memory, coverage=coverage)
        case "multihead":
            return MultiHead(queries, memory, heads=heads, coverage=coverage)
        case _:
            raise ValueError(f"unknown attention {kind!r}; there are additive, dot, general and multihead")


def _products(query: Tensor, keys: Tensor) -> Tensor:
    """[T, B, K] and [S, B, K] -> [T, B, S]."""
    return torch.bmm(query.transpose(0, 1), keys.permute(1, 2, 0)).transpose(0, 1)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """[T, B, S] and [S, B, D] -> [T, B, D]."""
    return torch.bmm(weights.transpose(0, 1), values.transpose(0, 1)).transpose(0, 1)


def _softmax(scores: Tensor, inside: Tensor) -> Tensor:
    """Over the steps inside [S, B] of each row: scores [T, B, S]."""
    # A finite floor, so that a row without steps does not give 0/0.
    floor = torch.finfo(scores.dtype).min
    return scores.masked_fill(~inside.T, floor).softmax(-1) * inside.T
