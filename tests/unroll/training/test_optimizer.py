"""Optimisers and schedules by name."""

import pytest
import torch
from torch import nn

from unroll.config import OptimizerConfig
from unroll.training.optimizer import Schedule, optimizer


def test_decay_keeps_the_first_epochs_and_then_multiplies_once_per_epoch():
    schedule = Schedule("decay", 0.0, steps=70, epochs=7, decay=0.5, decay_after=4)
    by_epoch = [{schedule(step) for step in range(10 * epoch, 10 * epoch + 10)} for epoch in range(7)]
    assert by_epoch == [{1.0}, {1.0}, {1.0}, {1.0}, {0.5}, {0.25}, {0.125}]


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_one_pass_on_the_cpu_changes_no_result(name):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    chosen = optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), ours)
    plain = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[name](
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}], lr=0.1
    )
    for _ in range(5):
        x = torch.randn(6, 4)
        for model, steps in ((ours, chosen), (theirs, plain)):
            steps.zero_grad()
            model(x).square().mean().backward()
            steps.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_ntasgd_is_chosen_by_name_and_spares_vectors():
    model = nn.Linear(2, 2)
    groups = optimizer(OptimizerConfig(name="ntasgd", weight_decay=0.5), model).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
