import math

import pytest
import torch
from torch.nn import functional as F

from unroll.recurrence.state import select
from unroll.sequence.attention import Additive, Attention, Dot, MultiHead, attention

KINDS = ("additive", "dot", "general", "multihead")
T, S, B, D = 3, 5, 4, 8
LENGTHS = torch.tensor([5, 3, 1, 0])


@pytest.fixture(params=KINDS)
def kind(request):
    torch.manual_seed(0)
    return request.param


def made(kind, coverage=False) -> Attention:
    return attention(kind, D, D, heads=2, coverage=coverage).double()


def states():
    return torch.randn(S, B, D, dtype=torch.double), torch.randn(T, B, D, dtype=torch.double)


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dot", {}),
        ("general", {"key.weight": (6, 8)}),
        ("additive", {"query.weight": (6, 6), "query.bias": (6,), "key.weight": (6, 8), "score.weight": (1, 6)}),
        ("multihead", {"query.weight": (8, 6), "query.bias": (8,), "key.weight": (8, 8), "value.weight": (8, 8),
                       "value.bias": (8,), "out.weight": (8, 8), "out.bias": (8,)}),
    ],
)  # fmt: skip
def test_no_weight_without_an_effect(name, sizes, coverage):
    """A bias of the keys or of the scores would move all of a row's scores alike, and a softmax does not see that."""
    made = attention(name, 8 if name == "dot" else 6, 8, heads=2, coverage=coverage)
    wanted = sizes | ({"coverage": (6,) if name == "additive" else (1,)} if coverage else {})
    assert {key: tuple(weight.shape) for key, weight in made.named_parameters()} == wanted


def test_an_additive_layer_has_the_size_that_it_is_given():
    assert Additive(6, 8, size=5).score.weight.shape == (1, 5)


def test_weights_are_a_distribution_over_each_rows_own_steps(kind):
    memory, query = states()
    _, weights = made(kind)(query, made(kind).remember(memory, LENGTHS))
    assert weights.shape == (T, B, S)
    torch.testing.assert_close(weights.sum(2), (LENGTHS > 0).double().expand(T, B))
    for row, length in enumerate(LENGTHS):
        assert not weights[:, row, length:].any()


def test_a_row_alone_is_that_row_in_a_batch_and_padding_changes_nothing(kind):
    memory, query = states()
    layer = made(kind)
    context, weights = layer(query, layer.remember(memory, LENGTHS))
    for row, length in enumerate(LENGTHS[:3].tolist()):
        alone, its = layer(query[:, row : row + 1], layer.remember(memory[:length, row : row + 1]))
        torch.testing.assert_close(alone[:, 0], context[:, row])
        torch.testing.assert_close(its[:, 0], weights[:, row, :length])


def test_all_queries_at_once_are_the_queries_one_by_one(kind):
    memory, query = states()
    layer = made(kind)
    remembered = layer.remember(memory, LENGTHS)
    context, weights = layer(query, remembered)
    for step in range(T):
        one, its = layer(query[step : step + 1], remembered)
        torch.testing.assert_close(one[0], context[step])
        torch.testing.assert_close(its[0], weights[step])


def test_rows_of_a_memory_can_be_selected(kind):
    memory, query = states()
    layer = made(kind)
    rows = torch.tensor([2, 0, 0])
    remembered = layer.remember(memory, LENGTHS)
    context, _ = layer(query, remembered)
    again, _ = layer(query[:, rows], select(remembered, rows))
    torch.testing.assert_close(again, context[:, rows])


@pytest.mark.parametrize("coverage", [False, True])
def test_gradients_are_those_of_finite_differences(kind, coverage):
    memory, query = states()
    layer = made(kind, coverage)
    covered = torch.rand(B, S, dtype=torch.double, requires_grad=True) if coverage else None
    if coverage:
        torch.nn.init.normal_(layer.coverage)

    def run(memory, query, *covered):
        return layer(query, layer.remember(memory, LENGTHS), *covered)

    inputs = [memory.requires_grad_(), query.requires_grad_(), *([covered] if coverage else [])]
    assert torch.autograd.gradcheck(run, inputs)
    loss = sum(out.square().sum() for out in run(*inputs))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


def test_coverage_moves_the_attention_away(kind):
    memory, query = states()
    layer = made(kind, coverage=True)
    remembered = layer.remember(memory)
    covered = torch.zeros(B, S, dtype=torch.double)
    _, before = layer(query, remembered, covered)
    if kind == "additive":  # v . tanh(... + c covered): away is where c points against v
        with torch.no_grad():
            layer.coverage.copy_(-layer.score.weight[0].sign())
    else:
        torch.nn.init.constant_(layer.coverage, -3)
    covered[:, 2] = 1
    _, after = layer(query, remembered, covered)
    assert (after[..., 2] < before[..., 2]).all()


def test_dot_is_what_torch_calls_scaled_dot_product_attention():
    memory, query = states()
    layer = Dot(D, D).double()
    context, _ = layer(query * D**-0.5, layer.remember(memory, LENGTHS.clamp(min=1)))
    mask = (torch.arange(S) < LENGTHS.clamp(min=1)[:, None])[:, None]
    theirs = F.scaled_dot_product_attention(*(x.transpose(0, 1) for x in (query, memory, memory)), attn_mask=mask)
    torch.testing.assert_close(context, theirs.transpose(0, 1))


def test_multihead_is_torch_nn_multiheadattention():
    memory, query = states()
    ours, theirs = MultiHead(D, D, heads=2).double(), torch.nn.MultiheadAttention(D, 2).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(D), ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    lengths = LENGTHS.clamp(min=1)
    context, weights = ours(query, ours.remember(memory, lengths))
    outside = torch.arange(S) >= lengths[:, None]
    expected, their_weights = theirs(query, memory, memory, key_padding_mask=outside)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(weights.transpose(0, 1), their_weights)


def test_additive_is_its_formula():
    memory, query = states()
    layer = made("additive", coverage=True)
    torch.nn.init.normal_(layer.coverage)
    covered = torch.rand(B, S, dtype=torch.double)
    _, weights = layer(query, layer.remember(memory), covered)
    t, b = 1, 2
    scores = [
        (layer.score.weight[0] * torch.tanh(
            layer.query.weight @ query[t, b] + layer.query.bias + layer.key.weight @ memory[s, b]
            + layer.coverage * covered[b, s]
        )).sum().item()
        for s in range(S)
    ]  # fmt: skip
    total = sum(math.exp(score) for score in scores)
    assert weights[t, b].tolist() == pytest.approx([math.exp(score) / total for score in scores])


def test_what_does_not_fit_is_said():
    memory, query = states()
    layer = made("general")
    with pytest.raises(ValueError, match=r"expected states \[S, B, 8\], got \[5, 4, 7\]"):
        layer.remember(memory[..., :7])
    with pytest.raises(ValueError, match=r"expected queries \[T, 4, 8\], got \[3, 2, 8\]"):
        layer(query[:, :2], layer.remember(memory))
    with pytest.raises(ValueError, match="coverage=False"):
        layer(query, layer.remember(memory), torch.zeros(B, S))
    with pytest.raises(ValueError, match="same size, got 8 and 6"):
        Dot(8, 6)
    with pytest.raises(ValueError, match="3 heads do not divide"):
        MultiHead(8, 8, heads=3)
    with pytest.raises(ValueError, match="there are additive, dot, general and multihead"):
        attention("bilinear", 8, 8)


@pytest.mark.parametrize("kind", ["dot", "general", "additive", "multihead"])
def test_each_query_may_have_a_coverage_of_its_own(kind):
    """As in a beam search, where the queries of a row belong to different texts."""
    torch.manual_seed(0)
    layer = made(kind, coverage=True)
    torch.nn.init.normal_(layer.coverage)
    memory = layer.remember(torch.randn(S, B, D, dtype=torch.double), LENGTHS)
    queries, covered = torch.randn(3, B, D, dtype=torch.double), torch.rand(3, B, S, dtype=torch.double)
    together = layer(queries, memory, covered)
    for number in range(3):
        alone = layer(queries[number : number + 1], memory, covered[number])
        for got, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(got[number], wanted[0])
