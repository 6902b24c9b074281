"""Optimisers and schedules by name."""

import math

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


SHAPES = {
    "constant": lambda rest: 1.0,
    "cosine": lambda rest: (1 + math.cos(math.pi * rest)) / 2,
    "linear": lambda rest: 1 - rest,
    "plateau": lambda rest: 0.25,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("elapsed", [0.0, 0.65])
def test_a_schedule_rises_over_its_share_and_then_takes_its_shape(shape, elapsed):
    """40 steps, a quarter of them warm-up; what the clock has used up counts where it is more."""
    plateau = 0.25 if shape == "plateau" else 1.0
    schedule = Schedule(shape, 0.25, steps=40, elapsed=elapsed, plateau=plateau)
    for step in range(0, 50, 2):
        done = min(max(step / 40, elapsed), 1.0)
        wanted = max(done, 1 / 40) / 0.25 if done < 0.25 else SHAPES[shape]((done - 0.25) / 0.75)
        assert schedule(step) == pytest.approx(wanted), step


def test_a_schedule_without_steps_is_defined():
    assert Schedule("constant", 0.5, steps=0)(0) == 2.0 and Schedule("decay", 0.0, steps=0)(0) == 1.0


KINDS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad", "ntasgd": "NTASGD"}


@pytest.mark.parametrize("name", KINDS)
def test_an_optimiser_has_its_rate_and_all_that_is_trained(name):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    chosen = optimizer(OptimizerConfig(name=name, lr=0.125, weight_decay=0.5), model)
    assert type(chosen).__name__ == KINDS[name]
    assert [group["lr"] for group in chosen.param_groups] == [0.125, 0.125]
    assert [group["weight_decay"] for group in chosen.param_groups] == [0.5, 0.0]
    matrices, vectors = (group["params"] for group in chosen.param_groups)
    assert [id(p) for p in matrices] == [id(model[1].weight)]
    assert [id(p) for p in vectors] == [id(model[0].bias), id(model[1].bias)]
    assert bool(chosen.param_groups[0].get("fused")) == (name in ("adamw", "adam", "adagrad"))


def test_a_model_without_matrices_has_one_group():
    [group] = optimizer(OptimizerConfig(weight_decay=0.5), nn.LayerNorm(3)).param_groups
    assert group["weight_decay"] == 0.0


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_running_mean_is_kept_where_it_is_wanted(average):
    model = nn.Linear(2, 2)
    chosen = optimizer(OptimizerConfig(average=average), model)
    model(torch.ones(1, 2)).sum().backward()
    chosen.step()
    assert ("mean" in chosen.state[model.weight]) == bool(average)
