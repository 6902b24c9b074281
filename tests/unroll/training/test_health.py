"""Bad steps are skipped and saved, and training stops after too many; probes have no side effects."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unroll.training.test_loop import EPOCH, Log, same, train
from tests.unroll.training.toy import APP
from unroll.app import App, Step
from unroll.diagnosis.probe import probe, scalars
from unroll.errors import Notice, UserError
from unroll.interrupt import Interrupted
from unroll.recurrence import Recurrent
from unroll.training.health import KEPT, RECENT, Health, replay


class Broken:
    """The toy's step, with the loss of the given calls multiplied by something."""

    def __init__(self, factor: float, calls: Any) -> None:
        self.factor, self.calls, self.call = factor, calls, 0

    def __call__(self, model: Any, batch: Any, state: Any) -> Step:
        self.call += 1
        done = APP.step(model, batch, state)
        return replace(done, loss=done.loss * (self.factor if self.call in self.calls else 1.0))

    @property
    def app(self) -> App:
        return replace(APP, step=self)


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e30])
def test_one_bad_batch_costs_one_step(tmp_path: Path, factor: float) -> None:
    with pytest.warns(Notice, match=r"at step 3, which is skipped \(replay: .*step-3\.safetensors\)"):
        _, model, log = train(tmp_path, ("optimizer.clip=0", "train.epochs=1"), app=Broken(factor, {3}).app)
    assert sorted(log.losses) == [1, 2, 4, 5, 6]
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_a_skipped_step_changes_no_weight(tmp_path: Path) -> None:
    """One batch only, and it is bad: the weights are the initial ones, and the training says that it did nothing."""
    with pytest.warns(Notice), pytest.raises(UserError, match=r"all 6 steps were skipped; the batches are in"):
        train(tmp_path, ("train.epochs=1", "train.bad_steps=9"), app=Broken(float("nan"), range(99)).app)


def test_too_many_in_a_row_stop_the_run_with_sound_weights(tmp_path: Path) -> None:
    app = Broken(float("nan"), range(4, 99)).app
    seen: list[Any] = []
    app = replace(app, model=lambda config, facts: seen.append(APP.model(config, facts)) or seen[-1])
    match = r"^the loss is nan at step 6, the last of 3 in a row; lower optimizer\.lr[^\n]*replay[^\n]*$"
    with pytest.warns(Notice), pytest.raises(UserError, match=match):
        train(tmp_path, ("train.bad_steps=3",), app=app)
    assert all(bool(p.isfinite().all()) for p in seen[0].parameters())


def test_a_run_that_stops_says_what_it_was_told_of_the_last_good_batch(tmp_path: Path) -> None:
    seen: list[Any] = []

    def explain(model: Any, batch: Any, state: Any) -> str:
        seen.append((batch, state))
        return "verdict made up"

    with pytest.warns(Notice), pytest.raises(UserError, match=r"in a row; verdict made up; lower optimizer\.lr"):
        train(tmp_path / "a", ("train.bad_steps=2",), app=Broken(float("nan"), {3, 4}).app, explain=explain)
    [(batch, _)] = seen
    assert batch[0].shape == (10, 8, 1)
    with pytest.raises(UserError, match=r"at step 1; lower optimizer\.lr"):  # there was none
        train(tmp_path / "b", ("train.bad_steps=1",), app=Broken(float("nan"), {1}).app, explain=explain)
    assert len(seen) == 1


def test_a_good_step_ends_the_row_of_bad_ones(tmp_path: Path) -> None:
    with pytest.warns(Notice):
        train(tmp_path, ("train.bad_steps=3",), app=Broken(float("nan"), {2, 3, 5, 6, 8, 9}).app)


def test_the_data_are_named_when_they_are_to_blame(tmp_path: Path) -> None:
    def step(model: Any, batch: Any, state: Any) -> Step:
        batch[0][2, 1] = float("nan")
        return APP.step(model, batch, state)

    with pytest.raises(UserError, match=r"the batch itself holds values that are not finite, at batch\[0\]"):
        train(tmp_path, ("train.bad_steps=1",), app=replace(APP, step=step))


def test_a_spike_is_skipped_only_where_that_is_wanted(tmp_path: Path) -> None:
    settings = ("train.epochs=5",)
    _, _, log = train(tmp_path / "a", settings, app=Broken(100.0, {25}).app)
    assert 25 in log.losses
    with pytest.warns(Notice, match=r"times its median at step 25, which is skipped"):
        _, _, log = train(tmp_path / "b", (*settings, "train.spike=20"), app=Broken(100.0, {25}).app)
    assert 25 not in log.losses and 26 in log.losses


def test_a_resumed_run_skips_what_the_undisturbed_one_skips(tmp_path: Path) -> None:
    settings = ("train.epochs=5", "train.spike=20")
    with pytest.warns(Notice):
        _, model, log = train(tmp_path / "a", settings, app=Broken(100.0, {25}).app)
    with pytest.raises(Interrupted):
        train(tmp_path / "b", settings, app=Broken(100.0, {25}).app, log=Log(stop_at=22))
    with pytest.warns(Notice, match="at step 25"):
        _, again, log_again = train(tmp_path / "b", settings, app=Broken(100.0, {3}).app, resume=True)
    assert log_again.losses == {step: loss for step, loss in log.losses.items() if step > 22}
    assert same(model, again)


def test_steps_in_a_row_are_counted_across_an_interruption(tmp_path: Path) -> None:
    """Two before it and one after it are three."""
    settings, broken = ("train.bad_steps=3",), Broken(float("nan"), {4, 5})

    def step(model: Any, batch: Any, state: Any) -> Step:
        if broken.call == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return broken(model, batch, state)

    with pytest.warns(Notice), pytest.raises(Interrupted):
        train(tmp_path, settings, app=replace(APP, step=step))
    with pytest.raises(UserError, match="the last of 3 in a row"):
        train(tmp_path, settings, app=Broken(float("nan"), {1}).app, resume=True)


def test_a_saved_batch_can_be_replayed(tmp_path: Path) -> None:
    broken = Broken(float("nan"), {4})
    with pytest.warns(Notice):
        train(tmp_path, ("train.epochs=1",), app=broken.app)
    model = APP.model(APP.config(), {})
    like = next(iter(APP.data(APP.config(), None).train))
    batch, carried = replay(tmp_path / "skipped/step-4.safetensors", model, like)
    assert [tensor.shape for tensor in batch] == [tensor.shape for tensor in like] and type(batch) is type(like)
    assert torch.isfinite(APP.step(model, batch, carried).loss)


def test_a_batch_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.warns(Notice):
        train(tmp_path, ("train.epochs=1",), app=Broken(float("nan"), {4}).app)
    other = APP.model(APP.config(settings=["model.hidden=5"]), {})
    with pytest.raises(UserError, match=r"step-4\.safetensors: of another model .* --run"):
        replay(tmp_path / "skipped/step-4.safetensors", other, None)
    with pytest.raises(UserError, match="no such checkpoint"):
        replay(tmp_path / "none.safetensors", other, None)


class Core(torch.nn.Module):
    """The toy's model on the core, with a batch norm and dropout for a probe to leave alone."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = Recurrent("gru", 1, hidden, variational=0.1)
        self.norm = torch.nn.BatchNorm1d(hidden)
        self.out = torch.nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        output, state = self.rnn(x, state)
        return self.out(self.norm(output.flatten(0, 1)).view_as(output)), state


def test_a_probed_training_gives_the_same_bits(tmp_path: Path) -> None:
    app = replace(APP, model=lambda config, facts: Core(config.model.hidden))
    _, plain, log = train(tmp_path / "a", app=app)
    seen: dict[int, dict[str, float]] = {}

    def look(model: Any, batch: Any, state: Any, step: int) -> dict[str, float]:
        seen[step] = scalars(probe(app, model, batch, state))
        return seen[step]

    _, probed, log_probed = train(tmp_path / "b", ("train.probe_every=4",), app=app, probe=look)
    assert log.losses == log_probed.losses and same(plain, probed)
    assert sorted(seen) == [4, 8, 12, 16]
    assert all(0 < numbers["probe/reach"] <= 10 and numbers["probe/growth"] > 0 for numbers in seen.values())


def test_the_share_of_clipped_steps_and_the_norm_after_clipping_are_told(tmp_path: Path) -> None:
    class Health(Log):
        numbers: Any = {}  # noqa: RUF012

        def step(self, at: Any, size: float, metrics: Any) -> None:
            super().step(at, size, metrics)
            self.numbers = {**self.numbers, at.step: metrics}

    log = Health()
    train(tmp_path, ("train.epochs=1", "optimizer.clip=0.1"), log=log)
    before = [numbers["train/gradient_norm"] for numbers in log.numbers.values()]
    assert len(before) == EPOCH and min(before) != max(before)
    for numbers in log.numbers.values():
        assert numbers["train/gradient_norm_clipped"] == min(numbers["train/gradient_norm"], 0.1)
    assert log.numbers[EPOCH]["train/clipped_share"] == sum(norm > 0.1 for norm in before) / EPOCH


def health(folder: Path, *settings: str) -> Health:
    return Health(APP, APP.config(settings=settings), folder)


def looked(found: Health, losses: Any) -> list[bool]:
    answers = []
    for loss in losses:
        answers.append(found.look(torch.tensor(float(loss))))
        found.problem = ""
    return answers


@pytest.mark.parametrize(
    ("before", "spikes"),
    [
        ([1] * 19, False),  # too few to know what is usual
        ([1] * 20, True),
        ([0] * 20, False),  # no multiple of zero is larger
        ([-1] * 20, False),
        ([1] * RECENT + [9] * RECENT, False),  # 3 x 9 is more; the first are forgotten
        ([1] * RECENT + [9] * (RECENT // 2 - 1), True),
    ],
)
def test_a_spike_is_measured_by_the_median_of_recent_losses(before: list[int], spikes: bool, tmp_path: Path) -> None:
    found = health(tmp_path, "train.spike=3")
    found.losses.extend(map(float, before))
    assert looked(found, [3.01]) == [not spikes]


def test_exactly_as_many_times_as_allowed_is_no_spike(tmp_path: Path) -> None:
    found = health(tmp_path, "train.spike=3")
    assert all(looked(found, [2] * 20)) and looked(found, [6, 6.01]) == [True, False]
    found.look(torch.tensor(20.0))
    assert found.problem == "the loss is 20, 10 times its median"


def test_batches_are_saved_up_to_a_number_of_them(tmp_path: Path) -> None:
    found, model = health(tmp_path), APP.model(APP.config(), {})
    batch = next(iter(APP.data(APP.config(), None).train))
    said = []
    for step in range(KEPT + 2):
        found.problem = "bad"
        said.append(found.skip(model, batch, None, step))
        found.took(batch, None)
    assert len(list((tmp_path / "skipped").iterdir())) == KEPT == 10
    assert ["replay" in line for line in said] == [True] * KEPT + [False] * 2
    assert (found.skipped, found.in_a_row) == (KEPT + 2, 0)


@pytest.mark.parametrize(("precision", "allowed"), [("32", False), ("16-mixed", True)])
def test_a_scaled_gradient_may_overflow(precision: str, allowed: bool, tmp_path: Path) -> None:
    found = health(tmp_path, f"train.precision={precision}")
    assert found.allows(torch.tensor(float("inf"))) == allowed
    assert found.problem == ("" if allowed else "the gradient's norm is inf")
    assert found.taken == int(allowed)


def test_a_norm_at_the_limit_is_not_clipped(tmp_path: Path) -> None:
    found = health(tmp_path, "optimizer.clip=2")
    assert all(found.allows(torch.tensor(norm)) for norm in (1.0, 2.0, 2.5, 4.0))
    assert found.numbers(2.5) == {"train/gradient_norm_clipped": 2.0, "train/clipped_share": 0.5}
    found.skipped = 3
    assert found.numbers(1.0) == {
        "train/gradient_norm_clipped": 1.0, "train/clipped_share": 0.5, "train/skipped_steps": 3,
    }  # fmt: skip
    unlimited = health(tmp_path, "optimizer.clip=0")
    assert unlimited.allows(torch.tensor(9.0))
    assert unlimited.numbers(9.0) == {"train/gradient_norm_clipped": 9.0, "train/clipped_share": 0.0}
    assert health(tmp_path).numbers(0.5)["train/clipped_share"] == 0.0


def test_what_was_counted_comes_back(tmp_path: Path) -> None:
    found = health(tmp_path)
    looked(found, [1, 2])
    found.taken, found.clipped, found.skipped, found.in_a_row = 5, 4, 3, 2
    again = health(tmp_path)
    again.load_state_dict(found.state_dict())
    assert again.state_dict() == found.state_dict() and list(again.losses) == [1.0, 2.0]
    found.check_any()
    found.taken = 0
    with pytest.raises(UserError, match="all 3 steps were skipped"):
        found.check_any()
    found.skipped = 0
    found.check_any()
