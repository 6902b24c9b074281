import math

import pytest
import torch

from unroll.apps.image import APP
from unroll.apps.image.denoising import noisy
from unroll.training.evaluation import evaluate

from .conftest import made


def test_denoising_of_a_network_that_changes_nothing_is_the_noise_itself(store):
    app, config, data, network = made(store, "train.task=denoise")
    torch.nn.init.zeros_(network.output[1].weight)
    torch.nn.init.zeros_(network.output[1].bias)
    report = evaluate(app, network, data.test)
    simple = APP.baselines(config, data)
    assert report.metrics["mse"] == pytest.approx(simple["noisy"]["mse"], rel=1e-4)
    assert simple["noisy"]["psnr"] == pytest.approx(-10 * math.log10(simple["noisy"]["mse"]))
    assert min(method["mse"] for method in simple.values()) < simple["noisy"]["mse"]


def test_noise_is_each_pictures_own_and_always_the_same_where_rows_are_given():
    grey = torch.full((3, 40, 40, 1), 0.5)
    rows = torch.tensor([7, 2, 7])
    given = noisy(grey, 0.1, rows)
    assert torch.equal(given[0], given[2]) and not torch.equal(given[0], given[1])
    assert torch.equal(noisy(grey[:1], 0.1, rows[1:2])[0], given[1])
    assert (given - grey).std().item() == pytest.approx(0.1, rel=0.1)
    assert not torch.equal(noisy(grey, 0.1), noisy(grey, 0.1))
    assert noisy(grey, 5.0).min() == 0 and noisy(grey, 5.0).max() == 1
