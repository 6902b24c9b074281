"""Full ranking: ties and NaN against the model, any budget the same, metrics against their definitions."""

import math

import pytest
import torch

from unroll.sequence.ranking import gain, rank, recall, reciprocal

SCORES = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(50) % 30


def ranked(scores, targets, **options):
    return rank(lambda part: scores[part], targets, **{"k": 5, **options})


def test_ranks_and_top_are_those_of_sorting():
    result = ranked(SCORES, TARGETS)
    order = SCORES.argsort(1, descending=True)
    assert result.ranks.tolist() == [(row == t).nonzero().item() + 1 for row, t in zip(order, TARGETS, strict=True)]
    assert torch.equal(result.top, order[:, :5])


@pytest.mark.parametrize("budget", [1, 30 * 4 * 7, 10**9])
def test_the_budget_changes_nothing(budget):
    one, other = (ranked(SCORES, TARGETS, sampled=4, **options) for options in ({"budget": budget}, {}))
    assert torch.equal(one.ranks, other.ranks) and torch.equal(one.top, other.top)
    assert torch.equal(one.sampled, other.sampled)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_as_many_scores_as_the_budget_allows_are_asked_for_and_no_more(rows):
    """One row first, whose size is not known before; one row at least."""
    asked = []
    rank(lambda part: asked.append(len(SCORES[part])) or SCORES[part], TARGETS, k=5, budget=30 * 4 * rows + 1)
    assert asked == [1, *[max(1, rows)] * (len(asked) - 2), 50 - sum(asked[:-1])]
    assert sum(asked) == 50 and asked[-1] <= max(1, rows)


def test_fewer_items_than_are_to_be_kept():
    assert torch.equal(ranked(SCORES[:, :4], TARGETS % 4).top, SCORES[:, :4].argsort(1, descending=True))


def test_ties_and_nan_count_against_the_model():
    assert ranked(torch.zeros(1, 30), torch.tensor([3])).ranks.item() == 30
    scores = torch.tensor([[1.0, 5.0, 5.0, 0.0, math.nan]])
    assert ranked(scores, torch.tensor([1]), k=1).ranks.item() == 3
    assert ranked(scores, torch.tensor([4]), k=1).ranks.item() == 5


def test_sampled_ranks_are_flattering_and_repeatable():
    full, again = ranked(SCORES, TARGETS, sampled=10), ranked(SCORES, TARGETS, sampled=10)
    assert torch.equal(full.sampled, again.sampled)
    assert full.sampled.min() >= 1 and full.sampled.max() <= 11
    assert full.sampled.double().mean() < full.ranks.double().mean()
    assert (full.sampled[full.ranks == 1] == 1).all() and (full.ranks == 1).any()
    assert ranked(SCORES, TARGETS).sampled.sum() == 0


def test_drawn_items_of_the_same_score_stand_before_the_wanted_one():
    """A model that scores all alike has the worst rank: eleven of ten drawn, less those that are the wanted one."""
    even = ranked(torch.zeros_like(SCORES), TARGETS, sampled=10).sampled
    assert even.max() == 11 and even.double().mean() > 9


def test_metrics_by_hand():
    """The last place that counts is place k itself."""
    ranks = torch.tensor([1, 3, 7, 8])
    assert recall(ranks, 7).tolist() == [1, 1, 1, 0]
    assert reciprocal(ranks, 7).tolist() == [1, 1 / 3, 1 / 7, 0]
    assert gain(ranks, 7).tolist() == [1, 0.5, 1 / 3, 0]
