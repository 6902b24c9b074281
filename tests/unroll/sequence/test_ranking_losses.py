"""Ranking losses against their equations, and the logQ correction against the sum that it estimates."""

import math

import pytest
import torch

from unroll.sequence import ranking_losses as losses
from unroll.sequence.sampling import PopularitySampler

P, C = 4, 9


@pytest.fixture
def scores():
    return torch.randn(P, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


OWN = torch.tensor([0, 2, 2, 8])
TIMES = torch.tensor([1, 1, 3, 1, 2, 1, 1, 1, 2])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(scores, term):
    """Mean over rows of term(r_i, [(s_j, r_j) ...]) with s the softmax over the negatives."""
    total = 0.0
    for row, own in zip(scores.tolist(), OWN.tolist(), strict=True):
        negatives = [r for j, r in enumerate(row) for _ in range(TIMES[j]) if j != own]
        norm = sum(math.exp(r) for r in negatives)
        total += term(row[own], [(math.exp(r) / norm, r) for r in negatives])
    return total / P


def test_bpr_max(scores):
    def term(own, negatives):
        won = sum(s * sigmoid(own - r) for s, r in negatives)
        return -math.log(won) + 0.7 * sum(s * r * r for s, r in negatives)

    assert losses.bpr_max(scores, OWN, TIMES, penalty=0.7).item() == pytest.approx(by_hand(scores, term))


def test_top1_max(scores):
    def term(own, negatives):
        return sum(s * (sigmoid(r - own) + sigmoid(r * r)) for s, r in negatives)

    assert losses.top1_max(scores, OWN, TIMES).item() == pytest.approx(by_hand(scores, term))


def test_sampled_softmax_without_correction(scores):
    def term(own, negatives):
        return math.log(math.exp(own) + sum(math.exp(r) for _, r in negatives)) - own

    assert losses.sampled_softmax(scores, OWN, TIMES).item() == pytest.approx(by_hand(scores, term))


def test_the_expected_counts_are_taken_off_all_scores(scores):
    counts = torch.linspace(-1, 2, C, dtype=torch.float64)
    corrected = losses.sampled_softmax(scores, OWN, TIMES, counts)
    torch.testing.assert_close(corrected, losses.sampled_softmax(scores - counts, OWN, TIMES))


@pytest.mark.parametrize(("batch", "samples"), [(1, 0), (3, 0), (3, 1), (3, 5)])
def test_expected_counts_by_hand(batch, samples):
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.1, 0.8])
    found = losses.log_expected_counts(p.log(), batch, q.log(), samples)
    torch.testing.assert_close(found.exp(), batch * p + samples * q)


@pytest.mark.parametrize("loss", [losses.sampled_softmax, losses.bpr_max, losses.top1_max])
def test_gradients(scores, loss):
    assert torch.autograd.gradcheck(lambda x: loss(x, OWN, TIMES), scores)
    loss(scores, OWN, TIMES).backward()
    assert (scores.grad.gather(1, OWN[:, None]) < 0).all()


def test_large_scores_stay_finite():
    large = torch.tensor([[-1000.0, 1000.0, 500.0]])
    once = torch.ones(3)
    own = torch.tensor([0])
    assert losses.bpr_max(large, own, once, penalty=0.0).item() == pytest.approx(2000, rel=1e-3)
    assert losses.top1_max(large, own, once).isfinite()


def test_logq_makes_the_sampled_sum_an_unbiased_estimate_of_the_full_one():
    counts = torch.tensor([100.0, 40.0, 20.0, 5.0, 1.0])
    scores = torch.tensor([0.3, -1.0, 0.5, 1.2, 0.1])
    popularity, sampler = PopularitySampler(counts, 1.0), PopularitySampler(counts, 0.5)
    torch.manual_seed(0)
    batch, samples = 200_000, 300_000
    drawn = torch.cat((popularity(batch), sampler(samples)))
    expected = losses.log_expected_counts(
        popularity.log_probability[drawn], batch, sampler.log_probability[drawn], samples
    )
    assert (scores[drawn] - expected).logsumexp(0).item() == pytest.approx(scores.logsumexp(0).item(), abs=0.01)
    assert scores[drawn].logsumexp(0).item() != pytest.approx(scores.logsumexp(0).item(), abs=1)


def test_full_softmax_is_cross_entropy(scores):
    wanted = scores.log_softmax(1).gather(1, OWN[:, None]).mean().neg()
    torch.testing.assert_close(losses.softmax(scores, OWN), wanted)
