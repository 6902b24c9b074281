import math

import numpy as np
import pytest
import torch

from unroll.apps.image.classification import distorted
from unroll.training.evaluation import evaluate

from .conftest import made


def test_accuracy_is_the_share_of_right_classes(store):
    app, _, data, network = made(store)
    report = evaluate(app, network, data.val)
    right = sum(record["reference"] == record["prediction"] for record in report.records)
    assert report.metrics["accuracy"] == pytest.approx(right / 183)
    with torch.no_grad():
        torch.nn.init.zeros_(network.output[1].weight)
        network.output[1].bias.copy_(torch.tensor([5.0] + [0.0] * 9))
    report = evaluate(app, network, data.val)
    assert {record["prediction"] for record in report.records} == {"0"}
    zeros = (torch.from_numpy(np.array(data.val.dataset.labels)) == 0).float().mean().item()
    assert report.metrics["accuracy"] == pytest.approx(zeros)
    others = math.log2(math.exp(5) + 9)
    assert report.metrics["bits_per_image"] == pytest.approx(others - zeros * 5 / math.log(2), rel=1e-4)


def test_distortions_are_each_pictures_own_and_small():
    grey = torch.zeros(100, 9, 9, 1)
    grey[:, 4, 4] = 1
    torch.manual_seed(0)
    moved = distorted(grey, 0.2)
    places = moved.flatten(1).argmax(1)
    down, right = places // 9 - 4, places % 9 - 4
    assert down.unique().tolist() == right.unique().tolist() == [-1, 0, 1]  # 0.2 of 4.5 pixels
    assert len({tuple(row.tolist()) for row in moved.flatten(1).round(decimals=3)}) > 90
    assert torch.allclose(distorted(grey, 0.0), grey, atol=1e-6)
    assert distorted(torch.ones(50, 8, 6, 3), 0.3).amin((1, 2, 3)).min() == 0  # what comes in is black
