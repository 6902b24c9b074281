"""Output layers over a vocabulary: memory-efficient cross-entropy, adaptive softmax, mixture of softmaxes.

A language model spends most of its time in the layer over V words. Logits [N, V] are computed in pieces that fit in the
cache, turned into gradients in place, and multiplied out at once, so that nothing of that size is ever stored.

Every layer has `loss` (the mean surprisal, for training), `surprisal` (of each target) and `log_probs` (of all words).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PIECE = 4_000_000
"""logits held at a time. Measured at V = 10,000 on two cores: smaller pieces reread the weights too often, larger ones
do not fit in the cache"""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore: int = -100,
    smoothing: float = 0.0,
) -> Tensor:
    """`F.cross_entropy(F.linear(hidden, weight, bias), targets)`, without materialising the logits [N, V].

    The gradient is (softmax - onehot) / N, multiplied out piece by piece while the piece is in the cache: the forward
    pass does the work of both. Under autocast the products use its dtype; softmax and sums stay in float32.

    Args:
        hidden: [N, H].
        weight: [V, H].
        bias: [V] or None.
        targets: whole numbers [N].
        ignore: targets with this value are ignored (padding).
        smoothing: fraction of the target distribution that is spread evenly over all words (Szegedy et al. 2016), like
            `label_smoothing` of F.cross_entropy.

    Returns:
        the mean over the targets that are not ignored; zero if all are.
    """
    loss = cast(Tensor, _LinearCrossEntropy.apply(hidden, weight, bias, targets, ignore))  # type: ignore[no-untyped-call]  # torch: no types
    return loss + smoothing * _above_mean(hidden, weight, bias, targets, ignore) if smoothing else loss


def _above_mean(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore: int) -> Tensor:
    """How far the target's logit is above the mean of all logits, averaged over the targets that are not ignored.

    log p enters the smoothed loss with weight (1 - s) at the target and s / V everywhere. The normaliser is the same in
    all terms, so smoothing adds s times this value; and the mean of the logits is the logit of the mean weight.
    """
    counted = targets != ignore
    rows, entries = hidden[counted], targets[counted]
    above = (rows * (weight[entries] - weight.mean(0))).sum()
    if bias is not None:
        above = above + (bias[entries] - bias.mean()).sum()
    return above / max(len(entries), 1)


def linear_surprisal(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """-log p of each target, [N], in nats, without materialising logits and without gradients; arguments as above."""
    with torch.no_grad():
        return torch.cat(
            [
                F.cross_entropy(F.linear(hidden[a:b], weight, bias).float(), targets[a:b], reduction="none")
                for a, b in _pieces(len(hidden), len(weight))
            ]
        )


class _LinearCrossEntropy(torch.autograd.Function):
    """Hand-written because autograd would store logits, log probabilities and their gradient, [N, V] each."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore: int) -> Tensor:
        counted = targets != ignore
        scale = 1.0 / max(int(counted.sum()), 1)
        sums = _Sums(hidden, weight, bias, needed=any(ctx.needs_input_grad))
        loss = torch.zeros((), device=hidden.device)
        for a, b in _pieces(len(hidden), len(weight)):
            every = b - a == len(hidden) and bool(counted.all())
            rows = slice(a, b) if every else counted[a:b].nonzero()[:, 0] + a
            loss = loss + sums.add(rows, targets[rows, None], scale)
        ctx.save_for_backward(*sums.gradients())
        return loss * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        # A factor of one is the usual case, at the end of the graph: skipping it saves a pass over the weights.
        unchanged = not above.is_cuda and bool(above == 1)
        gradients = [
            gradient if gradient is None or unchanged else gradient * above.to(gradient.dtype)
            for gradient in ctx.saved_tensors
        ]
        return (*gradients, None, None)


class _Sums:
    """Accumulates the gradients of hidden, weight and bias piece by piece."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, *, needed: bool) -> None:
        self.needed = needed
        dtype = hidden.dtype
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
        self.hidden, self.weight = hidden.to(dtype), weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        if needed:
            self.d_hidden = torch.zeros_like(hidden)
            self.d_weight = torch.zeros_like(weight)
            self.d_bias = None if bias is None else torch.zeros_like(bias)

    def add(self, rows: Any, targets: Tensor, scale: float) -> Tensor:
        """Sum of the surprisals of these rows; `targets` [n, 1]."""
        h = self.hidden[rows]
        probability = F.linear(h, self.weight, self.bias).float().softmax(1)
        right = probability.gather(1, targets)
        if self.needed:
            probability.scatter_(1, targets, right - 1)
            self._multiply(rows, h, probability, scale)
        # Clamped: a target whose probability underflows in float32 must not make the whole mean infinite.
        return -right.clamp(min=torch.finfo(right.dtype).tiny).log().sum()

    def _multiply(self, rows: Any, h: Tensor, error: Tensor, scale: float) -> None:
        if self.d_bias is not None:
            self.d_bias += scale * error.sum(0).to(self.d_bias.dtype)
        error = error.to(h.dtype)
        self.d_hidden[rows] = scale * (error @ self.weight).to(self.d_hidden.dtype)
        if h.dtype == self.d_weight.dtype:
            self.d_weight.addmm_(error.T, h, alpha=scale)
        else:
            self.d_weight += scale * (error.T @ h).to(self.d_weight.dtype)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Of hidden, weight and bias."""
        return (self.d_hidden, self.d_weight, self.d_bias) if self.needed else ()


def _pieces(rows: int, words: int) -> Iterator[tuple[int, int]]:
    """Bounds of pieces of about equal size, of at most PIECE logits each (but at least one row)."""
    count = max(1, min(rows, math.ceil(rows * words / PIECE)))
    cuts = [rows * i // count for i in range(count + 1)]
    return pairwise(cuts)


class Softmax(nn.Module):
    """The plain output layer.

    Args:
        weight: [V, H]; may be tied to the embedding (Press and Wolf 2017).
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight)))

    def loss(self, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean surprisal in nats of targets [N] (-100: ignored) given hidden [N, H]; see `linear_cross_entropy`."""
        return linear_cross_entropy(hidden, self.weight, self.bias, targets, smoothing=smoothing)

    def surprisal(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, [N], in nats; no gradients."""
        return linear_surprisal(hidden, self.weight, self.bias, targets)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """[N, H] -> [N, V]."""
        return F.linear(hidden, self.weight, self.bias).float().log_softmax(-1)


class AdaptiveSoftmax(nn.Module):
    """Computes frequent words and one entry per group of rarer words first, a group's words only when needed.

    Grave, Joulin, Cisse, Grangier and Jegou, Efficient softmax approximation for GPUs, 2017; here without their
    narrower tails, so that the weights can be tied to the embedding (as in AWD-LSTM's split cross-entropy). The
    probabilities of all words still sum to one: it is a different model, not an approximation in training.

    Args:
        weight: [V, H], words by descending frequency.
        cutoffs: the first word of each rarer group, ascending.

    Raises:
        ValueError: cutoffs that are not ascending or lie outside the vocabulary.
    """

    def __init__(self, weight: Tensor, cutoffs: Sequence[int]) -> None:
        super().__init__()
        self.cutoffs = list(cutoffs)
        self.sizes = [b - a for a, b in pairwise([0, *cutoffs, len(weight)])]
        if not cutoffs or min(self.sizes) < 1:
            raise ValueError(f"cutoffs must rise between 1 and {len(weight) - 1}, got {list(cutoffs)}")
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight)))
        self.groups = nn.Parameter(torch.zeros(len(cutoffs), weight.shape[1]))
        self.group_bias = nn.Parameter(torch.zeros(len(cutoffs)))

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """As `Softmax.loss`."""
        group, entry = self._split(targets)
        head, *tails = self._parts()
        loss = linear_cross_entropy(hidden, *head, entry)
        for number, (first, tail) in enumerate(zip(self.cutoffs, tails, strict=True), start=1):
            rows = (group == number).nonzero()[:, 0]
            if len(rows):
                there = linear_cross_entropy(hidden.index_select(0, rows), *tail, targets[rows] - first)
                loss = loss + there * (len(rows) / len(targets))
        return loss

    @torch.no_grad()
    def surprisal(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """As `Softmax.surprisal`."""
        group, entry = self._split(targets)
        head, *tails = self._parts()
        total = linear_surprisal(hidden, *head, entry)
        for number, (first, tail) in enumerate(zip(self.cutoffs, tails, strict=True), start=1):
            rows = (group == number).nonzero()[:, 0]
            if len(rows):
                total[rows] += linear_surprisal(hidden[rows], *tail, targets[rows] - first)
        return total

    def log_probs(self, hidden: Tensor) -> Tensor:
        """[N, H] -> [N, V]."""
        head, *tails = (F.linear(hidden, *part).float().log_softmax(-1) for part in self._parts())
        frequent = self.cutoffs[0]
        groups = [tail + head[:, frequent + number, None] for number, tail in enumerate(tails)]
        return torch.cat([head[:, :frequent], *groups], 1)

    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases of the frequent words followed by the groups, and of the words of each group."""
        # One split instead of slices: the gradient of every slice would be as large as all the weights.
        weights = list(torch.split(self.weight, self.sizes))
        biases = list(torch.split(self.bias, self.sizes))
        weights[0] = torch.cat((weights[0], self.groups))
        biases[0] = torch.cat((biases[0], self.group_bias))
        return list(zip(weights, biases, strict=True))

    def _split(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The group of each target, 0 for the frequent words, and its entry in the head."""
        group = torch.bucketize(targets, torch.tensor(self.cutoffs, device=targets.device), right=True)
        return group, torch.where(group == 0, targets, self.cutoffs[0] + group - 1)


class MixtureOfSoftmaxes(nn.Module):
    """p = sum_k pi_k(h) softmax(W tanh(P_k h) + b): not limited to the rank of a single softmax.

    Yang, Dai, Salakhutdinov and Cohen, Breaking the Softmax Bottleneck, 2018. K times the work of one softmax.

    Args:
        weight: [V, E].
        features: H, of the hidden vectors.
        mixtures: K.
    """

    def __init__(self, weight: Tensor, features: int, mixtures: int) -> None:
        super().__init__()
        self.mixtures = mixtures
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight)))
        self.prior = nn.Linear(features, mixtures, bias=False)
        self.latent = nn.Linear(features, mixtures * weight.shape[1])

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """As `Softmax.loss`; the backward pass recomputes each piece of logits instead of storing it."""
        total = torch.zeros((), device=hidden.device)
        for a, b in _pieces(len(hidden), len(self.weight) * self.mixtures):
            piece = torch.utils.checkpoint.checkpoint(
                self._surprisal, hidden[a:b], targets[a:b], use_reentrant=False, preserve_rng_state=False
            )
            total = total + cast(Tensor, piece).sum()
        return total / len(targets)

    @torch.no_grad()
    def surprisal(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """As `Softmax.surprisal`."""
        pieces = _pieces(len(hidden), len(self.weight) * self.mixtures)
        return torch.cat([self._surprisal(hidden[a:b], targets[a:b]) for a, b in pieces])

    def log_probs(self, hidden: Tensor) -> Tensor:
        """[N, H] -> [N, V]."""
        prior, logits = self._mixture(hidden)
        return torch.logsumexp(logits.log_softmax(-1) + prior[..., None], 1)

    def _surprisal(self, hidden: Tensor, targets: Tensor) -> Tensor:
        prior, logits = self._mixture(hidden)
        chosen = targets[:, None, None].expand(-1, self.mixtures, 1)
        right = logits.gather(2, chosen)[..., 0] - logits.logsumexp(-1)
        return -torch.logsumexp(right + prior, 1)

    def _mixture(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """log pi [N, K] and logits [N, K, V]."""
        latent = torch.tanh(self.latent(hidden)).view(len(hidden), self.mixtures, -1)
        return self.prior(hidden).float().log_softmax(-1), F.linear(latent, self.weight, self.bias).float()
