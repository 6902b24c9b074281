"""Popularity sampling: the promised frequencies, and no items that never occur."""

import pytest
import torch

from unroll.sequence.sampling import PopularitySampler

COUNTS = torch.tensor([0, 100, 25, 0, 1, 0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_draws_by_the_power_of_the_counts(alpha):
    torch.manual_seed(0)
    sampler = PopularitySampler(COUNTS, alpha)
    share = torch.bincount(sampler(200_000), minlength=6) / 200_000
    weights = torch.where(COUNTS > 0, COUNTS.double() ** alpha, 0)
    wanted = (weights / weights.sum()).float()
    torch.testing.assert_close(share, wanted, atol=0.005, rtol=0)
    torch.testing.assert_close(sampler.log_probability.exp(), wanted)
    assert share[COUNTS == 0].eq(0).all()


def test_no_number_from_0_to_1_draws_what_never_occurs(monkeypatch):
    for number, item in ((0.0, 1), (1 - 2**-53, 4)):
        monkeypatch.setattr(torch, "rand", lambda *shape, n=number, dtype, **options: torch.full(shape, n, dtype=dtype))
        assert PopularitySampler(COUNTS, 1.0)(2).tolist() == [item, item]


def test_a_saved_model_does_not_hold_the_sampler():
    assert not PopularitySampler(COUNTS, 1.0).state_dict()


def test_follows_torchs_seed():
    sampler = PopularitySampler(COUNTS, 0.5)
    torch.manual_seed(1)
    first = sampler(50)
    torch.manual_seed(1)
    assert torch.equal(sampler(50), first)
    assert not torch.equal(sampler(50), first)


@pytest.mark.parametrize("counts", [torch.zeros(3), torch.tensor([1, -1]), torch.ones(2, 2)])
def test_refuses_what_is_no_count(counts):
    with pytest.raises(ValueError, match="counts must be"):
        PopularitySampler(counts, 1.0)
