import pytest
import torch

from unroll.recurrence import Recurrent
from unroll.sequence.pooling import AttentionPooling, Pooling, last, maximum, mean

KINDS = ("last", "mean", "max", "attention")


@pytest.fixture
def states():
    return torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LENGTHS = torch.tensor([5, 3, 1, 0])


def test_each_kind_by_hand(states):
    for row, length in enumerate(LENGTHS[:3].tolist()):
        own = states[:length, row]
        assert torch.equal(last(states, LENGTHS)[row], own[-1])
        assert torch.allclose(mean(states, LENGTHS)[row], own.sum(0) / length)
        assert torch.equal(maximum(states, LENGTHS)[row], own.max(0).values)


def test_attention_by_hand(states):
    pooling = AttentionPooling(6).double()
    own = states[:3, 1]
    scores = torch.tanh(own @ pooling.project.weight.T + pooling.project.bias) @ pooling.score.weight[0]
    wanted = (scores.softmax(0)[:, None] * own).sum(0)
    assert torch.allclose(pooling(states, LENGTHS)[1], wanted)
    weights = pooling.weights(states, LENGTHS)
    assert torch.allclose(weights.sum((0, 2)), torch.tensor([1.0, 1, 1, 0], dtype=torch.float64))
    assert weights[3:, 1].abs().max() == 0


def test_the_score_has_no_bias_which_a_softmax_would_not_see():
    shapes = {name: tuple(weight.shape) for name, weight in AttentionPooling(6).named_parameters()}
    assert shapes == {"project.weight": (6, 6), "project.bias": (6,), "score.weight": (1, 6)}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_say_and_gets_no_gradient(states, kind):
    pooling = Pooling((kind,), 6, directions=2).double()
    inside = torch.arange(5)[:, None] < LENGTHS
    padded = states.masked_fill(~inside[..., None], 1e6).requires_grad_()
    pooled = pooling(padded, LENGTHS)
    assert torch.equal(pooled, pooling(states, LENGTHS))
    pooled.square().sum().backward()
    assert padded.grad[~inside].abs().max() == 0
    assert padded.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_is_the_row_in_a_batch(states, kind):
    pooling = Pooling((kind,), 6, directions=2).double()
    together = pooling(states, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = pooling(states[: max(length, 1), row : row + 1], LENGTHS[row : row + 1])
        assert torch.allclose(together[row], alone[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_steps_gives_zeros(states, kind):
    assert Pooling((kind,), 6).double()(states, LENGTHS)[3].abs().max() == 0


def test_last_is_the_final_state_of_both_directions():
    recurrent = Recurrent("gru", 3, 4, bidirectional=True)
    x, lengths = torch.randn(5, 3, 3), torch.tensor([5, 2, 4])
    output, (hidden,) = recurrent(x, lengths=lengths)
    assert torch.equal(last(output, lengths, directions=2), torch.cat((hidden[0], hidden[1]), 1))


def test_several_kinds_side_by_side(states):
    pooling = Pooling(("mean", "max"), 6).double()
    assert pooling.output_size == 12
    assert torch.equal(pooling(states, LENGTHS), torch.cat((mean(states, LENGTHS), maximum(states, LENGTHS)), 1))


@pytest.mark.parametrize("kinds", [(), ("median",)])
def test_unknown_kinds_are_refused(kinds):
    with pytest.raises(ValueError, match="one or more of last, mean, max, attention"):
        Pooling(kinds, 6)
