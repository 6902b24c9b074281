"""The autoregressive model: no pixel sees itself or what comes after, and drawing agrees with training."""

import math

import pytest
import torch

from unroll.apps.image.completion import PixelRNN
from unroll.apps.image.model import Shape
from unroll.training.evaluation import evaluate

from .conftest import made

SHAPE = Shape(4, 5, 1, 3)


def network(cell: str = "lstm", **changed) -> PixelRNN:
    torch.manual_seed(0)
    settings = {"cell": cell, "hidden": 8, "layers": 1, "init": None, "maps": 6, "dropout": 0.1} | changed
    return PixelRNN(SHAPE, **settings).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 3, (2, 4, 5, 1), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("gru", 2), ("mingru", 1)])
def test_no_pixel_sees_itself_or_what_comes_after(cell, layers):
    model = network(cell, layers=layers)
    values = torch.rand(1, 4, 5, requires_grad=True)
    log_probs = model(values)[0].flatten(0, 1)
    for place in range(20):
        (gradient,) = torch.autograd.grad(log_probs[place].square().sum(), values, retain_graph=True)
        seen = gradient.flatten() != 0
        assert not seen[place:].any(), f"pixel {place} sees {seen.nonzero().flatten().tolist()}"


def test_a_pixel_sees_all_that_comes_before():
    model = network()
    values = torch.rand(1, 4, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.double()(values)[0, 3, 4].square().sum(), values)
    assert (gradient.flatten()[:19] != 0).all()


def test_probabilities_of_all_pictures_sum_to_one():
    model = PixelRNN(Shape(2, 2, 1, 3), cell="gru", hidden=5, layers=1, init=None, maps=4, dropout=0.0)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(-1, 2, 2, 1)
    with torch.no_grad():
        total = (2 ** -model.bits(every).sum((1, 2))).sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_bits_are_those_of_the_right_levels(pixels):
    model = network()
    log_probs = model(model.scaled(pixels[..., 0]))
    wanted = -log_probs[1, 2, 3, int(pixels[1, 2, 3, 0])].item() / math.log(2)
    assert model.bits(pixels)[1, 2, 3].item() == pytest.approx(wanted, rel=1e-5)


def test_drawing_follows_the_trained_distribution_step_by_step(pixels):
    model = network()
    with torch.no_grad():
        # Nearly without chance: what is drawn must be the most probable level given what was drawn before it.
        drawn = model.complete(pixels, 1, torch.Generator().manual_seed(0), temperature=1e-4)
        best = model(model.scaled(drawn[..., 0])).argmax(-1)
    assert torch.equal(drawn[:, 1:, :, 0].long(), best[:, 1:])


def test_frequencies_of_what_is_drawn_are_its_probabilities():
    model = network()
    with torch.no_grad():
        drawn = model.complete(torch.zeros(4000, 4, 5, 1, dtype=torch.uint8), 0, torch.Generator().manual_seed(0))
        first = model(torch.zeros(1, 4, 5))[0, 0, 0].exp()
        second = model(torch.tensor([[[0.5] + [0.0] * 4] + [[0.0] * 5] * 3]))[0, 0, 1].exp()
    counts = torch.bincount(drawn[:, 0, 0, 0].long(), minlength=3) / 4000
    assert torch.allclose(counts, first, atol=0.03)
    given = drawn[drawn[:, 0, 0, 0] == 1][:, 0, 1, 0].long()
    assert torch.allclose(torch.bincount(given, minlength=3) / len(given), second, atol=0.06)


def test_kept_rows_are_kept_and_the_rest_is_not_looked_at(pixels):
    model = network()
    other = pixels.clone()
    other[:, 2:] = 2 - other[:, 2:]
    with torch.no_grad():
        one, two = (model.complete(given, 2, torch.Generator().manual_seed(3)) for given in (pixels, other))
    assert torch.equal(one[:, :2], pixels[:, :2])
    assert torch.equal(one, two)
    with torch.no_grad():
        assert torch.equal(model.complete(pixels, 4), pixels)
        assert not torch.equal(model.complete(pixels, 0, torch.Generator().manual_seed(4)), one)


def test_bits_per_pixel_of_even_chances(store):
    app, _, data, network = made(store, "train.task=complete")
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.zeros_(network.output.bias)
    report = evaluate(app, network, data.val)
    assert report.metrics == pytest.approx({"bits_per_pixel": math.log2(17), "bits_per_pixel_below": math.log2(17)})
