"""A synthetic process whose optimal ranking can be computed: sessions follow a hidden plan through a catalogue.

A session has a hidden state (plan, phase). Each click comes from the item list of the state, or with a small
probability from anywhere; then the phase advances or stays, and occasionally the plan changes. Every item is in the
lists of several states of different plans, so one click does not identify the state, and the next click cannot be
predicted from the last one alone: earlier clicks and their order matter. It is a hidden Markov model, so the exact
distribution of the next click given all clicks so far follows from the forward algorithm (Rabiner, A Tutorial on Hidden
Markov Models, 1989, section III.A). Ranking by it has the highest expected recall@k and MRR@k of any predictor.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.sequence.ranking import rank

from ..events import Log
from . import Source

VERSION = 1
"""part of the specification: raise it when the same settings give other sessions"""
PLANS, PHASES, LIST = 6, 5, 30
ITEMS = 250
MOVES, CHANGES, CHANCE = 0.7, 0.02, 0.05
"""probability that the phase advances, that the plan changes, that a click comes from anywhere"""
SHORTEST, MEAN, LONGEST = 4, 12, 40
"""number of clicks of a session"""
SHARES = (1.0, 0.05, 0.1)
"""sessions of train, val and test, relative to train"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Process:
    """The hidden Markov model: K states, N items."""

    initial: Floats
    """[K]"""
    transition: Floats
    """from, to: [K, K]"""
    emission: Floats
    """state, item: [K, N]"""

    @classmethod
    def plan(cls, random: np.random.Generator) -> "Process":
        """A random process."""
        states = PLANS * PHASES
        prior = 1 / np.sqrt(1 + np.arange(PLANS))
        initial = np.repeat(prior / prior.sum(), PHASES) / PHASES
        within = (1 - MOVES) * np.eye(PHASES) + MOVES * np.roll(np.eye(PHASES), 1, axis=1)
        transition = (1 - CHANGES) * np.kron(np.eye(PLANS), within) + CHANGES * initial
        emission = np.full((states, ITEMS), CHANCE / ITEMS)
        weights = 1 / (1 + np.arange(LIST)) ** 0.8
        for state, items in enumerate(_lists(states, random)):
            emission[state, items] += (1 - CHANCE) * weights / weights.sum()
        return cls(initial, transition, emission)

    def sample(self, sessions: int, random: np.random.Generator) -> NDArray[np.int32]:
        """[S, LONGEST] items, -1 after the end of a session."""
        lengths = np.minimum(SHORTEST + random.geometric(1 / (MEAN - SHORTEST), sessions) - 1, LONGEST)
        items = np.full((sessions, LONGEST), -1, dtype=np.int32)
        state = _draw(self.initial[None], np.zeros(sessions, dtype=np.int64), random)
        for step in range(LONGEST):
            items[:, step] = np.where(step < lengths, _draw(self.emission, state, random), -1)
            state = _draw(self.transition, state, random)
        return items

    def best_ranks(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rank of each item [S, T] under its exact distribution given those before it; 0 for the first, and for -1."""
        ranks = np.zeros_like(items)
        belief = self.initial * self.emission[:, items[:, 0]].T
        for step in range(1, items.shape[1]):
            rows = np.flatnonzero(items[:, step] >= 0)
            belief = belief / belief.sum(1, keepdims=True)
            ahead = belief @ self.transition
            next_item = torch.from_numpy(ahead[rows] @ self.emission)
            wanted = torch.from_numpy(items[rows, step].astype(np.int64))
            if len(rows):
                ranks[rows, step] = rank(next_item.__getitem__, wanted, k=1).ranks.numpy()
            belief = ahead * self.emission[:, items[:, step]].T
        return ranks


def _lists(states: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The items of each state, [K, LIST]: as evenly as possible, so that every item is in several."""
    decks = [random.permutation(ITEMS) for _ in range(states * LIST // ITEMS)]
    rest = [random.permutation(ITEMS)[: states * LIST % ITEMS]]
    return np.concatenate([*decks, *rest]).reshape(states, LIST)


def _draw(distributions: Floats, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """One sample from the distribution in each of the `rows` of a table."""
    cumulative = distributions.cumsum(1)
    cumulative[:, -1] = 1.0
    # One increasing sequence over all rows, so that one binary search does.
    flat = (cumulative + np.arange(len(cumulative))[:, None]).reshape(-1)
    drawn = np.searchsorted(flat, rows + random.random(len(rows)), side="right") - rows * distributions.shape[1]
    kept: NDArray[np.int64] = np.minimum(drawn, distributions.shape[1] - 1)
    return kept


def source(sessions: int, seed: int) -> Source:
    """`sessions` training sessions, and others for val and test."""
    spec = {"source": "builtin", "version": VERSION, "sessions": sessions, "seed": seed}
    return Source(spec, partial(_read, sessions, seed), protocol="given")


def _read(sessions: int, seed: int) -> Log:
    random = np.random.default_rng(seed)
    process = Process.plan(random)
    counts = [max(20, round(share * sessions)) for share in SHARES]
    items = process.sample(sum(counts), random)
    best = np.zeros_like(items)
    best[counts[0] :] = process.best_ranks(items[counts[0] :])
    session, step = np.nonzero(items >= 0)
    return Log(
        session=session.astype(np.int32),
        item=items[session, step],
        time=600.0 * session + 30.0 * step,
        sessions=np.array([f"session-{number:06d}" for number in range(len(items))]),
        items=np.array([str(number) for number in range(ITEMS)]),
        split=np.repeat(np.arange(3, dtype=np.int8), counts)[session],
        best=best[session, step],
    )
