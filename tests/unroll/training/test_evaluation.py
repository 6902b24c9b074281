"""Evaluation does not change the model."""

from dataclasses import replace
from typing import Any

import torch

from tests.unroll.training.toy import APP, data
from unroll.training.evaluation import evaluate, mean_loss


def test_a_part_that_was_frozen_in_eval_mode_stays_in_it() -> None:
    config = APP.config()
    model, val = APP.model(config, {}), data(config, None).val
    model.dropout.eval()  # as a pretrained part would be
    evaluate(APP, model, val)
    assert model.training and model.rnn.training and not model.dropout.training


def test_the_mean_loss_weighs_batches_by_their_size_and_draws_no_numbers() -> None:
    def step(model: Any, batch: Any, state: Any) -> Any:
        torch.rand(1)
        assert state is None and not model.training
        return replace(APP.step(model, ((x := torch.zeros(batch, 1, 1)), x), None), loss=torch.tensor(float(batch)))

    model = APP.model(APP.config(), {})
    before = torch.get_rng_state()
    assert mean_loss(replace(APP, step=step), model, [1, 3]) == (1 * 1 + 3 * 3) / 4
    assert torch.equal(before, torch.get_rng_state()) and model.training
