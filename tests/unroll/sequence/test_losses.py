"""Output layers against plain PyTorch: values, gradients, probabilities; and that logits are never stored."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from unroll.sequence import losses
from unroll.sequence.losses import AdaptiveSoftmax, MixtureOfSoftmaxes, Softmax, linear_cross_entropy, linear_surprisal

N, H, V = 37, 6, 23


@pytest.fixture(params=[10**9, 100, 1], ids=["one piece", "pieces", "row by row"])
def piece(request, monkeypatch):
    monkeypatch.setattr(losses, "PIECE", request.param)


def given(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in ((N, H), (V, H), (V,))
    )
    return hidden, weight, bias, torch.randint(V, (N,), generator=generator)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("ignored", [0, 5, N - 1, N])
def test_value_and_gradients_are_those_of_cross_entropy(with_bias, ignored):
    results = []
    for ours in (True, False):
        hidden, weight, bias, targets = given()
        targets[:ignored] = -100
        chosen = bias if with_bias else None
        if ours:
            loss = linear_cross_entropy(hidden, weight, chosen, targets)
        else:
            loss = F.cross_entropy(F.linear(hidden, weight, chosen), targets, reduction="sum") / max(N - ignored, 1)
        (2 * loss).backward()
        results.append([loss.detach(), hidden.grad, weight.grad, bias.grad if with_bias else torch.zeros(())])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-7, check_dtype=False)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("ignored", [0, 5, N - 1])
def test_label_smoothing_is_that_of_cross_entropy(with_bias, ignored):
    results = []
    for ours in (True, False):
        hidden, weight, bias, targets = given()
        targets[:ignored] = -100
        chosen = bias if with_bias else None
        if ours:
            loss = linear_cross_entropy(hidden, weight, chosen, targets, smoothing=0.2)
        else:
            loss = F.cross_entropy(F.linear(hidden, weight, chosen), targets, label_smoothing=0.2)
        loss.backward()
        results.append([loss.detach(), hidden.grad, weight.grad, bias.grad if with_bias else torch.zeros(())])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-7, check_dtype=False)


def test_without_a_target_that_counts_the_smoothed_loss_is_zero():
    hidden, weight, bias, targets = given()
    loss = linear_cross_entropy(hidden, weight, bias, torch.full_like(targets, -100), smoothing=0.2)
    loss.backward()
    assert loss == 0 and not any(tensor.grad.any() for tensor in (hidden, weight, bias))


@pytest.mark.parametrize("rows", [0, 1, 7, 40])
@pytest.mark.parametrize("words", [1, 9, 10, 11, 25])
def test_pieces_are_as_few_as_the_budget_allows_and_of_about_one_size(monkeypatch, rows, words):
    monkeypatch.setattr(losses, "PIECE", 50)
    pieces = list(losses._pieces(rows, words))
    sizes = [b - a for a, b in pieces]
    assert [a for a, _ in pieces] == [sum(sizes[:i]) for i in range(len(sizes))] and sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, min(rows, -(-rows * words // 50)))


def test_only_what_is_wanted_has_a_gradient():
    hidden, weight, _, targets = given()
    linear_cross_entropy(hidden.detach(), weight, None, targets).backward()
    assert weight.grad is not None and hidden.grad is None
    assert not linear_cross_entropy(hidden.detach(), weight.detach(), None, targets).requires_grad


def test_gradient_by_finite_differences():
    # In float64 throughout: the softmax of the layer itself is in float32.
    hidden, weight, bias, targets = given()
    assert gradcheck(
        lambda h, w, b: linear_cross_entropy(h, w, b, targets), (hidden, weight, bias), eps=1e-3, atol=1e-3, rtol=1e-2
    )


def test_under_autocast_the_products_are_in_its_dtype_and_the_gradients_are_not():
    hidden, weight, bias, targets = given(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, bias, targets)
    loss.backward()
    exact = F.cross_entropy(F.linear(hidden, weight, bias), targets)
    assert loss.dtype == weight.grad.dtype == hidden.grad.dtype == torch.float32
    assert 0 < abs(loss.item() - exact.item()) < 0.02


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("name", ["softmax", "adaptive", "mixture"])
def test_gradients_under_autocast_have_the_values_of_float32(name):
    """Up to the rounding of bfloat16, 1 in 256: a product that is left out or counted twice is far beyond that."""
    layer = layers()[name]
    hidden, _, _, targets = given(torch.float32)
    inputs = [hidden, *layer.parameters()]
    wanted = torch.autograd.grad(3 * layer.loss(hidden, targets), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        loss = layer.loss(hidden, targets)
    for got, right in zip(torch.autograd.grad(3 * loss, inputs), wanted, strict=True):
        assert got.dtype == torch.float32
        assert (got - right).norm() < 0.02 * right.norm()


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_of_all_three_inputs_under_autocast(smoothing):
    hidden, weight, bias, targets = given(torch.float32)
    targets[:5] = -100
    inputs = [hidden, weight, bias]
    wanted = torch.autograd.grad(F.cross_entropy(F.linear(*inputs), targets, label_smoothing=smoothing), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, bias, targets, smoothing=smoothing)
    for got, right in zip(torch.autograd.grad(loss, inputs), wanted, strict=True):
        assert (got - right).norm() < 0.02 * right.norm()


def test_no_tensor_of_all_logits_is_ever_made(monkeypatch):
    monkeypatch.setattr(losses, "PIECE", 5 * V)
    hidden, weight, bias, targets = given(torch.float32)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        linear_cross_entropy(hidden, weight, bias, targets).backward()
        linear_surprisal(hidden, weight, bias, targets)
    assert largest <= max(V * H, N * H, 5 * V) < N * V


def layers():
    def weight():
        return nn.Parameter(torch.randn(V, H, generator=torch.Generator().manual_seed(1)))

    torch.manual_seed(2)
    plain, adaptive, mixture = (
        Softmax(weight()), AdaptiveSoftmax(weight(), [4, 11]), MixtureOfSoftmaxes(weight(), H, 3)
    )  # fmt: skip
    for layer in (plain, adaptive, mixture):
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return {"softmax": plain, "adaptive": adaptive, "mixture": mixture}


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("name", ["softmax", "adaptive", "mixture"])
def test_loss_surprisal_and_log_probs_agree(name):
    layer = layers()[name]
    hidden, _, _, targets = given(torch.float32)
    log_probs = layer.log_probs(hidden)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(N))
    wanted = -log_probs.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(layer.surprisal(hidden, targets), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.loss(hidden, targets), wanted.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("name", ["softmax", "adaptive", "mixture"])
def test_gradients_of_the_loss_are_those_through_log_probs(name):
    layer = layers()[name]
    hidden, _, _, targets = given(torch.float32)
    inputs = [hidden, *layer.parameters()]
    got = torch.autograd.grad(layer.loss(hidden, targets), inputs)
    wanted = torch.autograd.grad(-layer.log_probs(hidden).gather(1, targets[:, None]).mean(), inputs)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_adaptive_softmax_without_a_target_in_some_group():
    layer = layers()["adaptive"]
    hidden, _, _, _ = given(torch.float32)
    targets = torch.full((N,), 2)
    wanted = -layer.log_probs(hidden)[:, 2].mean()
    torch.testing.assert_close(layer.loss(hidden, targets), wanted)


@pytest.mark.parametrize("cutoffs", [[], [0], [V], [5, 5], [9, 4]])
def test_cutoffs_must_rise_within_the_vocabulary(cutoffs):
    with pytest.raises(ValueError, match="cutoffs must rise between 1 and 22"):
        AdaptiveSoftmax(nn.Parameter(torch.zeros(V, H)), cutoffs)


def test_a_target_without_any_probability_is_a_large_number_not_infinity():
    hidden, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, None, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite() and loss > 80
    assert weight.grad.isfinite().all() and weight.grad[1] < 0
