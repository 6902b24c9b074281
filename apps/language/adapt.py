"""Ways to read a text: with the trained weights alone, with a cache of past tokens, or learning while reading."""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from unroll.recurrence.state import detach
from unroll.sequence.stream import Window

from .model import LanguageModel
from .options import Adaptation


class Reader(Protocol):
    """Reads a stream window by window."""

    name: str
    """suffix of its metrics; "" for plain reading"""

    def read(self, window: Window) -> Tensor:
        """-log p of each target of the window [T, 1] given all before it, in nats, [T] float64."""


def readers(model: LanguageModel, how: Adaptation) -> list[Reader]:
    """The configured adaptation methods."""
    found: list[Reader] = []
    if how.cache:
        found.append(Cached(model, how.cache, how.cache_weight, how.cache_flatness))
    if how.dynamic:
        found.append(Dynamic(model, how.dynamic, how.dynamic_decay))
    return found


class Plain:
    """The trained weights alone, with the carried state."""

    name = ""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.state: Any = None

    def read(self, window: Window) -> Tensor:
        hidden, self.state = self.model(window.tokens, detach(self.state))
        return self.model.output.surprisal(hidden.flatten(0, 1), window.targets.flatten()).double()


class Cached:
    """A mixture with the tokens that followed similar hidden states among the last `size` tokens.

        p_cache(w) ~ sum_i 1{w = x_i+1} exp(theta h_t . h_i)        p = (1 - lambda) p_model + lambda p_cache

    Grave, Joulin and Usunier, Improving Neural Language Models with a Continuous Cache, 2017, equations 2 to 4.

    Args:
        model: it is not changed.
        size: tokens in the cache.
        weight: lambda.
        flatness: theta.
    """

    name = "cache"

    def __init__(self, model: LanguageModel, size: int, weight: float, flatness: float) -> None:
        self.model, self.size, self.weight, self.flatness = model, size, weight, flatness
        self.state: Any = None
        self.keys = torch.zeros(0, model.recurrent.output_size)
        self.values = torch.zeros(0, dtype=torch.int64)

    def read(self, window: Window) -> Tensor:
        hidden, self.state = self.model(window.tokens, detach(self.state))
        hidden, targets = hidden.flatten(0, 1), window.targets.flatten()
        plain = self.model.output.surprisal(hidden, targets).double()
        before = len(self.keys)
        keys = torch.cat((self.keys.to(hidden), hidden))
        values = torch.cat((self.values.to(targets), targets))
        cached = self._cached(hidden, keys, values, before)
        self.keys, self.values = keys[-self.size :], values[-self.size :]
        mixed = (1 - self.weight) * (-plain).exp() + self.weight * cached
        # Nothing precedes the very first token: there the model is on its own.
        return torch.where(torch.arange(len(plain), device=plain.device) + before > 0, -mixed.log(), plain)

    def _cached(self, hidden: Tensor, keys: Tensor, values: Tensor, before: int) -> Tensor:
        """p_cache of each target [T]; value j follows key j, and query t is at position before + t."""
        here = torch.arange(len(hidden), device=hidden.device)[:, None] + before
        there = torch.arange(len(keys), device=hidden.device)
        reached = (there < here) & (there >= here - self.size)
        scores = (self.flatness * hidden @ keys.T).double().masked_fill(~reached, -torch.inf)
        return (scores.softmax(-1).nan_to_num() * (values == values[before:, None])).sum(-1)


class Dynamic:
    """A step of gradient descent after every few tokens, with decay towards the trained weights.

        theta <- theta - eta grad + lambda (theta_0 - theta)

    Krause, Kahembwe, Murray and Renals, Dynamic Evaluation of Neural Sequence Models, 2018, equation 5 with plain
    gradients: their scaling needs the training data. Each token is predicted before it is learned from.

    Args:
        model: it is not changed; a copy learns.
        rate: eta.
        decay: lambda.
    """

    name = "dynamic"
    STEPS = 20
    """tokens per step"""
    CLIP = 1.0
    """maximum norm of the gradient"""

    def __init__(self, model: LanguageModel, rate: float, decay: float) -> None:
        self.model, self.rate, self.decay = copy.deepcopy(model).eval(), rate, decay
        self.state: Any = None
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.trained = [p.detach().clone() for p in self.parameters]

    def read(self, window: Window) -> Tensor:
        parts = zip(window.tokens.split(self.STEPS), window.targets.split(self.STEPS), strict=True)
        return torch.cat([self._learn(tokens, targets) for tokens, targets in parts])

    @torch.enable_grad()
    def _learn(self, tokens: Tensor, targets: Tensor) -> Tensor:
        hidden, state = self.model(tokens, detach(self.state))
        self.state = detach(state)
        hidden, targets = hidden.flatten(0, 1), targets.flatten()
        surprisal = self.model.output.surprisal(hidden, targets).double()
        self.model.output.loss(hidden, targets).backward()
        with torch.no_grad():
            torch.nn.utils.clip_grad_norm_(self.parameters, self.CLIP)
            for parameter, trained in zip(self.parameters, self.trained, strict=True):
                if parameter.grad is not None:
                    parameter.sub_(self.rate * parameter.grad)
                parameter.lerp_(trained, self.decay)
                parameter.grad = None
        return surprisal
